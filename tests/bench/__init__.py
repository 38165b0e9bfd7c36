"""Measurements of the whole: run by hand, on real processes."""
