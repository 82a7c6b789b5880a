"""``python -m finetune`` does what ``finetune`` does."""

import sys

from finetune.cli import main

sys.exit(main())
