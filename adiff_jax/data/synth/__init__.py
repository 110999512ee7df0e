"""Pairs made from labelled recordings: scenes, the edits between them, audio and captions."""
