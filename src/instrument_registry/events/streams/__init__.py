"""How facts reach those who asked for them: consumers, their positions, dead letters, and the fast road over Redis."""
