"""Parameters and toggles: declared once, changed while it runs, seen by every worker, undone in one call."""
