"""The configuration of models and runs: the schema, how it is resolved, and its errors in words."""
