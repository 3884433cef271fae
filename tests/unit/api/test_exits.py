"""How the end of a program is put into words."""

import pytest

from agentrun.api.pod_layout import describe_exit


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (None, "no exit code"),
        (0, "exit code 0"),
        (3, "exit code 3"),
        (137, "exit code 137, killed by SIGKILL"),
        (250, "exit code 250"),
    ],
)
def test_the_meaning_of_exit_codes(code: int | None, words: str) -> None:
    assert describe_exit(code) == words
