"""Probes of trained models: a discriminator's features and filters, and feature maps of a generator."""
