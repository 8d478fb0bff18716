"""How good a model is: its held-out outputs, what they are measured by, and what may be said of the figures."""
