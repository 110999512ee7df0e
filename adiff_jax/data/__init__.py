"""From files, tables or scene recipes to batches of numpy arrays. Imports no JAX."""
