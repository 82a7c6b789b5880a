"""The checks of what last-layers and full train: the network's own parameters."""
