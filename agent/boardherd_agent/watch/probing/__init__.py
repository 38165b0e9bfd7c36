"""When and with what to look: pace, limits, and what the probes of one test PC share."""
