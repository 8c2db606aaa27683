"""`python -m gannet`, which is how torchrun starts it."""

import sys

from gannet.cli import main

sys.exit(main())
