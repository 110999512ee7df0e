"""Waveform to features on device; files in through `io`. This package module imports nothing."""
