"""The boardherd daemon on a test PC."""
