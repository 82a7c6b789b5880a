"""The ``finetune`` command: one file a subcommand."""
