"""Bytes to values and back, one module per protocol; pure, and free of anything else of ours."""
