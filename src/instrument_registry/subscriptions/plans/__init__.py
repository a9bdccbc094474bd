"""Plans: who is carried where, which plan is live, and what tickers are to do to follow it."""
