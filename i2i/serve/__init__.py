"""A page and a REST interface for trained models: what `i2i serve` runs."""
