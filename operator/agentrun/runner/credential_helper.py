"""
git's credential helper: the Secret's user and password, for the profile's repositories only.

git asks with the parts of the URL on lines of their own, and asks again wherever a server redirects
to: so nothing is read out of a question that is made for people.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from agentrun.api.repositories import is_covered

REPOSITORIES, CREDENTIALS = "AGENTRUN_GIT_REPOSITORIES", "AGENTRUN_GIT_CREDENTIALS"
"""In the environment: what the password is for, separated by spaces, and the Secret's folder."""


def answer(asked: Iterable[str], env: Mapping[str, str]) -> tuple[list[str], str]:
    """Answer git's question: the lines for git, and what is wrong if there are none."""
    parts = dict(line.rstrip("\n").partition("=")[::2] for line in asked if "=" in line)
    url = f"{parts.get('protocol', '')}://{parts.get('host', '')}/{parts.get('path', '')}"
    if not is_covered(url, env[REPOSITORIES].split()):
        return ["quit=1"], f"the password is not for {url}"
    folder = Path(env[CREDENTIALS])
    # A token is enough of a password for most servers, whatever the user.
    user = parts.get("username") or _first_line(folder / "username") or "git"
    return [f"username={user}", f"password={_first_line(folder / 'password')}"], ""


def _first_line(file: Path) -> str:
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return next(iter(text.splitlines()), "")


def main() -> None:
    """Answer on standard output; git keeps nothing, so there is nothing to store or erase."""
    if sys.argv[1:] != ["get"]:
        return
    lines, problem = answer(sys.stdin, os.environ)
    if problem:
        sys.stderr.write(f"{problem}\n")
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
