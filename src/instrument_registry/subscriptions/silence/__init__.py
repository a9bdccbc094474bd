"""Feeds that fall silent: instruments that are carried and do not tick while their market is open."""
