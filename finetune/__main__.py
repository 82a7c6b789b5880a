"""``python -m finetune`` does what ``finetune`` does."""

import sys

from finetune.cli.app import main

sys.exit(main())
