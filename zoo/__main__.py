"""``python -m zoo`` does what ``zoo`` does."""

import sys

from zoo.cli import main

sys.exit(main())
