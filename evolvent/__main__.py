"""python -m evolvent is the command `evolvent`."""

import sys

from evolvent.cli.main import main

sys.exit(main())
