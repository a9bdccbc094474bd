"""Facts sent to addresses outside: endpoints, signatures, deliveries, and no way inside."""
