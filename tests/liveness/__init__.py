"""Faults in a whole lab, one after another, and what ``boardherd why`` says of each."""
