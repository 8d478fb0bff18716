"""What a run needs of a device that is not here, and what would bind it there."""
