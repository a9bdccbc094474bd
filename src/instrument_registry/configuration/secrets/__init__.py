"""Secrets that operators set: sealed, in versions, for several environments, read by few and never unseen."""
