"""Other code's weights, in and out."""
