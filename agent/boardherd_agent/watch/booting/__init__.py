"""How a board boots: signs on its console, the times of each stage, and its own past."""
