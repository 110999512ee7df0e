"""Training: state, optimizer, the pure step and the loop with all effects."""
