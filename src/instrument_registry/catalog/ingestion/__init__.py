"""From a dump to the catalogue: open, parse, stage, compare, apply, tell."""
