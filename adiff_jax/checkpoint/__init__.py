"""What stays on disk of a run: checkpoints and the run directory around them."""
