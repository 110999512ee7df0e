"""PyTorch checkpoints in and out, by tables that account for every entry in both directions."""
