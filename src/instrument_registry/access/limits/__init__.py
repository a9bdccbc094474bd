"""How often who may ask: exact sliding windows, and the limits of single keys."""
