"""Doing less instead of dying: features that fail, memory that is short, and how well all goes."""
