"""What a cut of power shows of the wiring: somebody looks on, and judges."""
