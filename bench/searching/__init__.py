"""The parts of the search benchmark: a universe, queries over it, and PostgreSQL as the reference."""
