"""Measures of trained models on data: what they have learnt, and how well."""
