"""Figures of a report: which there are, and how they are written."""
