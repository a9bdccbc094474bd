"""Webhooks: events handed to other programs by signed HTTP requests, each until it has been taken."""
