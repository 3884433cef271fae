"""
Shell completion for ``kubectl agentrun``.

kubectl calls the program ``kubectl_complete-agentrun`` with the words typed so far. It reads one
candidate per line, and a completion directive for the shell on the last line.
"""

import os
import shlex
import sys

_NO_FILES = ":4"


def main() -> None:
    """Print the candidates for the last word."""
    from agentrun.cli.app import app
    from agentrun.cli.terminal import printable_streams

    *words, last = sys.argv[1:] or [""]
    line = shlex.join(["agentrun", *words, *([last] if last else [])])
    position = str(len(words) + 1)
    os.environ |= {
        "_AGENTRUN_COMPLETE": "complete_bash", "COMP_WORDS": line, "COMP_CWORD": position,
    }  # fmt: skip
    with printable_streams():
        try:
            app(prog_name="agentrun")
        except SystemExit as end:
            if end.code:
                raise
        sys.stdout.write(f"{_NO_FILES}\n")


if __name__ == "__main__":
    main()
