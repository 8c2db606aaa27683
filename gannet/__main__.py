"""`python -m gannet`, which is how torchrun starts it."""

import os
import sys

from gannet.cli import main

code = main()
if "RANK" in os.environ:
    # The threads of the process group can abort an interpreter that is shutting down, after all work is done.
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
sys.exit(code)
