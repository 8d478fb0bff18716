"""What describes a model and a run: the schema, how it is resolved, and what is wrong with it in words."""
