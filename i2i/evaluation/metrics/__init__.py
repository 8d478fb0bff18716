"""The metrics, one or a close family to a file: adding one is adding a file here."""
