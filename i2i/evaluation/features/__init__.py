"""The networks whose features images are compared by, one to a file."""
