"""What watches everyone: retention and archives."""
