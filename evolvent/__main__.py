"""python -m evolvent is the command `evolvent`."""

import sys

from evolvent.cli import main

sys.exit(main())
