from pathlib import Path

from dev.command_line import commands, fill

PAGE = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_page_shows_the_help_that_the_commands_have() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == fill(page), "run: make generate"


def test_the_page_has_every_command() -> None:
    page = PAGE.read_text(encoding="utf-8")
    for name, _ in commands():
        assert f"### {name}\n" in page
