"""What the collector shows: metrics, health, the JSON API and the read-only page."""
