"""Which files are images, and from a file to the pixels that a CNN expects."""
