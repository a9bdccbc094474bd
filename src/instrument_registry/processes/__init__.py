"""The processes of one installation: the embedded server, the workers, the socket, the signals."""
