"""Where things are kept that need not be downloaded or computed twice."""
