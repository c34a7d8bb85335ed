"""`python -m migaki` is `migaki`."""

import os
import sys

from migaki.cli import main


def end(code: int) -> None:
    """End this process. Under `torchrun` at once: all is written, and the clean-up of the libraries that pass messages
    sometimes aborts a process whose work is done, which `torchrun` takes for a failure of all.
    """
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit(code)


if __name__ == "__main__":
    end(main())
