"""`python -m job`: the same as `python job/main.py`."""

import sys

from job.main import main

if __name__ == "__main__":
    sys.exit(main())
