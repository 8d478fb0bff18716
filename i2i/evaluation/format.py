"""How a file of figures says what it is; apart, so that a run's report reads such files without what measures."""

FORMAT = "i2i evaluation 1"
