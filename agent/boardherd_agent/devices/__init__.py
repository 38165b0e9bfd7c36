"""The hardware: drivers, and the workers that own one device each."""
