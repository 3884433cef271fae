"""
git's credential helper: the Secret's user and password, for the profile's repositories only.

git passes the parts of the URL as separate lines, and calls the helper again for each redirect of a
server. So no prompt text, which is meant for people, has to be parsed.
"""

import os
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

from agentrun.api.repositories import is_covered

REPOSITORIES, CREDENTIALS = "AGENTRUN_GIT_REPOSITORIES", "AGENTRUN_GIT_CREDENTIALS"
"""Environment variables: the password's repositories, space-separated; the Secret's folder."""


def answer(asked: Iterable[str], env: Mapping[str, str]) -> tuple[list[str], str]:
    """Answer git's request: return the lines for git, and the error if access is denied."""
    parts = dict(line.rstrip("\n").partition("=")[::2] for line in asked if "=" in line)
    url = f"{parts.get('protocol', '')}://{parts.get('host', '')}/{parts.get('path', '')}"
    if not is_covered(url, env[REPOSITORIES].split()):
        return ["quit=1"], f"the password is not for {url}"
    folder = Path(env[CREDENTIALS])
    # For most servers a token as the password is sufficient, with any user.
    user = parts.get("username") or _first_line(folder / "username") or "git"
    return [f"username={user}", f"password={_first_line(folder / 'password')}"], ""


def _first_line(file: Path) -> str:
    text = file.read_text(encoding="utf-8") if file.is_file() else ""
    return next(iter(text.splitlines()), "")


def main() -> None:
    """Write the answer to standard output; git's ``store`` and ``erase`` are ignored."""
    if sys.argv[1:] != ["get"]:
        return
    lines, problem = answer(sys.stdin, os.environ)
    if problem:
        sys.stderr.write(f"{problem}\n")
    sys.stdout.write("".join(f"{line}\n" for line in lines))


if __name__ == "__main__":
    main()
