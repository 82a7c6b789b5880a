"""Where images come from, what is wrong with them, and how they are split."""
