"""Everyone's demand for live data, planned onto real broker connections."""
