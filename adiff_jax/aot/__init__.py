"""Planning for a TPU slice without one: programs compiled for it, and what can be read of them."""
