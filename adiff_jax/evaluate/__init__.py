"""Exact evaluation: predictions keyed by id, caption metrics, structured scores, intervals."""
