"""From evidence to a verdict on a board, with what is known of everything around it."""
