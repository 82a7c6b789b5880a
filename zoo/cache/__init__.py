"""Downloads and computed results, kept for the next run."""
