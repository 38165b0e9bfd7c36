"""What every part of boardherd agrees on."""
