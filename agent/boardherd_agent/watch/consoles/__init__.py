"""Serial consoles: opened, listened to, stepped aside from, kept, and shared."""
