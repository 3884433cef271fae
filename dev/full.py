"""
Whether ``make test-full`` has to run: what it is about has changed since it was last green.

``python -m dev.full due`` ends with 0 if so; ``python -m dev.full record`` notes a green run, in a
file that is committed with what was proved.
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
    "operator/agentrun/controller/backends.py",
    "operator/agentrun/runner/**/*.py",
    "operator/agentrun/store/**/*.py",
    "mcp_server/gateway/**/*.py",
    "dev/agent/*.py",
    "dev/model/*",
    "tests/e2e/test_backends.py",
    "tests/e2e/test_events.py",
    "tests/e2e/test_load.py",
)
"""What full-size volume goes through, and what the slower agents are driven by."""


def digest() -> str:
    """Hash what the full tests are about."""
    found = hashlib.sha256()
    for pattern in ABOUT:
        for file in sorted(paths.CHECKOUT.glob(pattern)):
            if file.is_file():
                found.update(str(file.relative_to(paths.CHECKOUT)).encode() + b"\0")
                found.update(file.read_bytes())
    return found.hexdigest()


def is_due() -> bool:
    """Whether anything of it has changed since the last green run."""
    return not RECORD.exists() or RECORD.read_text(encoding="ascii").strip() != digest()


def main() -> int:
    """Say whether it is due, or record that it is not any more."""
    if sys.argv[1:] == ["record"]:
        RECORD.write_text(digest() + "\n", encoding="ascii")
        say(f"recorded in {RECORD.relative_to(paths.CHECKOUT)}: commit it")
        return 0
    return 0 if is_due() else 1


if __name__ == "__main__":
    sys.exit(main())
