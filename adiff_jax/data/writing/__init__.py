"""Explanations of pairs, written from the captions of two clips."""
