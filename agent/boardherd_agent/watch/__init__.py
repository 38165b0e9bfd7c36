"""What is true: of the test PC (sampling) and of its boards (probes, console, verdict)."""
