"""Working with lab.toml: checking it, comparing it, putting it in force, making one from what a lab had before."""
