"""What CONTRIBUTING.md says of files is true."""

import re

import pytest

from dev import paths

PAGE = (paths.CHECKOUT / "CONTRIBUTING.md").read_text(encoding="utf-8")
MAP = PAGE.split("## Where to look")[1]
FILES = re.findall(r"`([\w/.-]+\.py)`", MAP)


def test_every_question_has_a_file() -> None:
    rows = [line for line in MAP.splitlines() if line.endswith("|")][2:]
    assert len(rows) > 10
    assert [row for row in rows if not re.search(r"`[\w/.-]+\.py`", row)] == []


@pytest.mark.parametrize("file", sorted(set(FILES)))
def test_a_file_that_is_named_exists(file: str) -> None:
    assert (paths.CHECKOUT / file).is_file()
