"""The boardherd command line."""
