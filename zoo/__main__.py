"""``python -m zoo`` does what ``zoo`` does."""

import sys

from zoo.cli.app import main

sys.exit(main())
