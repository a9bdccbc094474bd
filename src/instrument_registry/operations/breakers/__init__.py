"""Breakers as operators see and reset them."""
