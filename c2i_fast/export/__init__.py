"""Graphs that keep the contract of export/README.md: fused, scorer and blend; written, verified, read back."""
