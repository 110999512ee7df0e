"""Turning a captioner's next-token logits into sentences: greedy, sampling and beam search."""
