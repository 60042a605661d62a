"""Trials on validation images, and freezing the winners."""
