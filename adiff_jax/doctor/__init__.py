"""`adiff doctor`: is everything there for a training, a line for each thing, with the way out."""
