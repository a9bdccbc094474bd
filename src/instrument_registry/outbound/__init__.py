"""Requests that leave the house: where they may go, and that they go where was looked."""
