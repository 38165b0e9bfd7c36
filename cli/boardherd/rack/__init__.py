"""A simulated rack: relay modules on real TCP ports, and boards that really boot and really go dark."""
