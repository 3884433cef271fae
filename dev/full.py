"""
Whether ``make test-full`` is due: its inputs have changed since its last successful run.

``python -m dev.full due`` exits with 0 if so; ``python -m dev.full record`` records a successful
run in a file that is committed with the tested sources.
"""

import hashlib
import sys

from dev import paths
from dev.shell import say

RECORD = paths.CHECKOUT / "tests" / "full.sha256"
ABOUT = (
    "images/agent-more/*",
    "images/agent-other/*",
    "operator/agentrun/api/*.py",
    "operator/agentrun/backends/*.py",
    "operator/agentrun/controller/**/*.py",
    "operator/agentrun/runner/**/*.py",
    "operator/agentrun/kube/cache.py",
    "operator/agentrun/store/**/*.py",
    "mcp_server/gateway/**/*.py",
    "dev/agent/*.py",
    "dev/model/*",
    "tests/apiserver/*.py",
    "tests/e2e/test_backends.py",
    "tests/e2e/test_events.py",
    "tests/e2e/test_load.py",
    "tests/unit/runner/test_volume.py",
)
"""What full-size data passes through, what races are about, and what drives slower agents."""


def digest() -> str:
    """Hash the inputs of the full tests."""
    found = hashlib.sha256()
    for pattern in ABOUT:
        for file in sorted(paths.CHECKOUT.glob(pattern)):
            if file.is_file():
                found.update(str(file.relative_to(paths.CHECKOUT)).encode() + b"\0")
                found.update(file.read_bytes())
    return found.hexdigest()


def is_due() -> bool:
    """Return whether any input has changed since the last successful run."""
    return not RECORD.exists() or RECORD.read_text(encoding="ascii").strip() != digest()


def main() -> int:
    """Exit with 0 if the full tests are due, else with 1; or record a successful run."""
    if sys.argv[1:] == ["record"]:
        RECORD.write_text(digest() + "\n", encoding="ascii")
        say(f"recorded in {RECORD.relative_to(paths.CHECKOUT)}: commit it")
        return 0
    return 0 if is_due() else 1


if __name__ == "__main__":
    sys.exit(main())
