"""What the tree must be like."""

from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_operator_is_a_source_root_and_not_a_package() -> None:
    # As a package it would shadow the standard library's operator module, and with it everything.
    assert not (ROOT / "operator" / "__init__.py").exists()
    assert (ROOT / "operator" / "agentrun" / "__init__.py").exists()
