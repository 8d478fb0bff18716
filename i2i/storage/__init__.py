"""Files: written whole or not at all, weights that describe themselves, and run folders."""
