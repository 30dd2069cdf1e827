"""`python -m torchslim.cli` is `torchslim`."""

import sys

from torchslim.cli import main

if __name__ == "__main__":
    sys.exit(main())
