"""The boardherd collector: stores, shows and exports what the agents report."""
