"""What a run tells of itself to people: its report, a page, and the card of its model."""
