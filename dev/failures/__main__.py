"""Writing the page of all failures: ``python -m dev.failures FILE``."""

import sys
from pathlib import Path

from dev.failures.page import page

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(page(), encoding="utf-8")
