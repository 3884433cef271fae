# ruff: noqa: T201 - what it prints is the pod's log
"""Checking that the URLs given as arguments answer 200, and saying which do not."""

import sys
import urllib.error
import urllib.request


def problem(url: str) -> str:
    """Say what is wrong with ``url``; nothing if it answers 200."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return "" if answer.status == 200 else f"answers {answer.status}"
    except urllib.error.HTTPError as error:
        return f"answers {error.code}: {error.read().decode(errors='replace')[:500]}"
    except OSError as error:
        return f"cannot be reached: {error}"


def main(urls: list[str]) -> int:
    """Check all of ``urls``; the answer is the exit status."""
    problems = {url: problem(url) for url in urls}
    for url, wrong in problems.items():
        print(f"{url} {wrong or 'is well'}", flush=True)
    return 1 if any(problems.values()) else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
