"""Who did what: records that cannot be changed unnoticed, their tree and its signed checkpoints."""
