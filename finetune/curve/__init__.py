"""Would more labelled images help: accuracy over the number of training images, and beyond it."""
