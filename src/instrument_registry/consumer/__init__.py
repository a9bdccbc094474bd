"""What a program imports to follow the facts of a registry over HTTP."""
