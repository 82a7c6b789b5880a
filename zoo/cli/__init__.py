"""The ``zoo`` command: one file a subcommand."""
