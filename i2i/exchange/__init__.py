"""Import and export of other code's weights."""
