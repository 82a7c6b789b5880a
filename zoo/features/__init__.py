"""From images to features, computed once and stored."""
