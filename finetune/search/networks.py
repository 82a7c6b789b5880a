"""The search for the options of ``last-layers`` and ``full``."""
