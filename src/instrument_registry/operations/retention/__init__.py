"""How long what is kept, and letting go of the rest: counted first, archived where it must be."""
