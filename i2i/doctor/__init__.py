"""The doctor: how a sick training shows itself, in what is logged and in what a model makes of held-out images."""
