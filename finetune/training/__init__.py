"""Training of a network's own parameters: the one loop, and what it is fed with."""
