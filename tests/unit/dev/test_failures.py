"""The catalogue of failures: each row has a test, an example that is true, and its page."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from agentrun.api.v1alpha1 import Reason
from dev import paths
from dev.failures import FAILURES
from dev.failures.__main__ import page
from dev.failures.row import Failure

TESTS = paths.CHECKOUT / "tests"
VALUES = paths.CHECKOUT / "charts" / "agentrun" / "values.yaml"
CHART_VALUES = yaml.safe_load(VALUES.read_text(encoding="utf-8"))

MARKS = ("pytest.mark.failure", "promised")

NO_ENDS = {
    Reason.ACCEPTED: "the pod comes next",
    Reason.SESSION_BUSY: "the run before it ends within its own bounds",
    Reason.POD_PENDING: "operator.startTimeoutSeconds and the like bound it",
    Reason.PREPARING: "git's bounds and the deadline bound it",
    Reason.WORKING: "the deadline bounds it",
    Reason.FINISHING: "the grace period bounds it",
    Reason.QUESTION: "inputTimeoutSeconds bounds it: InputTimeout",
}
"""Reasons of runs on their way, and what sees to it that they do not stay there."""

every_row = pytest.mark.parametrize("row", FAILURES, ids=[row.key for row in FAILURES])


def marked(file: Path) -> set[str]:
    """Read the keys of all marks in a test file; a table's keys stand for ``*TABLE``."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    marks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and ast.unparse(node.func) in MARKS
    ]
    tables = dict(_tables(tree))
    keys: set[str] = set()
    for argument in (argument for mark in marks for argument in mark.args):
        if isinstance(argument, ast.Starred):
            keys |= tables[ast.unparse(argument.value)]
        else:
            keys.add(ast.literal_eval(argument))
    return keys


def _tables(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Read the keys of every dictionary that a module defines, but not of those it includes."""
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.value, ast.Dict):
            keys = {
                ast.literal_eval(key) for key in node.value.keys if isinstance(key, ast.Constant)
            }
            yield ast.unparse(node.target), keys


def test_every_row_has_a_test_and_every_marked_test_has_its_row() -> None:
    tested = set().union(*(marked(file) for file in TESTS.rglob("test_*.py")))
    assert tested == {row.key for row in FAILURES}


def test_every_reason_that_can_end_a_run_has_a_row() -> None:
    assert {row.reason for row in FAILURES} == set(Reason) - set(NO_ENDS)


def test_every_key_is_used_once() -> None:
    assert len({row.key for row in FAILURES}) == len(FAILURES)


@every_row
def test_the_message_that_is_shown_is_the_one_that_is_tested(row: Failure) -> None:
    assert re.search(row.message, row.shows), row


@every_row
def test_every_setting_that_is_named_exists(row: Failure) -> None:
    for section, name in re.findall(r"`(operator|mcpServer)\.(\w+)`", row.bound + row.remedy):
        assert name in CHART_VALUES[section], row


def test_the_page_is_the_generated_one() -> None:
    found = (paths.CHECKOUT / "docs" / "failures.md").read_text(encoding="utf-8")
    assert found == page(), "docs/failures.md is out of date: run `make generate`"
