"""A run's classifier for others."""
