"""`python -m migaki` is `migaki`."""

import sys

from migaki.cli import main

if __name__ == "__main__":
    sys.exit(main())
