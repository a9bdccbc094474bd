"""Rules: what a profile wants of a market that moves, kept up with prices, expiries and listings."""
