"""`python -m ftjobs` is the same as `ftjobs`."""

import sys

from ftjobs.cli import main

sys.exit(main())
