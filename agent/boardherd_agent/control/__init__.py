"""What is done: one command in, one outcome out, at most once."""
