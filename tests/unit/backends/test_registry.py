"""The backends are described in one place, with which everything else that lists them agrees."""

import ast
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import get_args

import pytest
import yaml

from agentrun.api.v1alpha1 import AgentProfileSpec, Backend
from agentrun.api.v1alpha1.profile import InstructionFile
from agentrun.api.v1alpha1.vocabulary import REMOTE_A2A
from agentrun.backends import BACKENDS, DEFAULT, backend_of
from agentrun.cli.commands import start
from dev import paths

ROOT = paths.CHECKOUT
CHART = ROOT / "charts/agentrun"
PRODUCT = (ROOT / "operator/agentrun", ROOT / "mcp_server")
NAMED_IN = ("operator/agentrun/backends/", "operator/agentrun/api/v1alpha1/vocabulary.py")
WITH_PROGRAM = [one for one in BACKENDS.values() if one.command]
"""The backends whose agent is in an image of AgentRun, and for which the chart has a profile."""


def camel(name: str) -> str:
    first, *others = name.split("_")
    return first + "".join(one.title() for one in others)


def literals(file: Path) -> set[object]:
    tree = ast.parse(file.read_text(encoding="utf-8"))
    return {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant)}


def test_api_accepts_exactly_the_backends() -> None:
    assert get_args(Backend) == tuple(BACKENDS)
    assert [name for name, one in BACKENDS.items() if one.is_remote] == [REMOTE_A2A]


def test_unknown_backend_is_treated_as_an_acp_program() -> None:
    assert backend_of("another") is backend_of("acp")
    assert not backend_of("another").command


def test_no_other_code_names_a_backend() -> None:
    files = [file for folder in PRODUCT for file in folder.rglob("*.py")]
    naming = {
        where: sorted(named)
        for file in files
        if not (where := str(file.relative_to(ROOT))).startswith(NAMED_IN)
        and (named := {str(one) for one in literals(file) if one in BACKENDS})
    }
    assert naming == {}, "compare a property of the Backend instead (agentrun/backends)"


@pytest.mark.parametrize("module", ["agentrun.backends", "agentrun.runner.home"])
def test_reading_a_backend_loads_only_the_standard_library(module: str) -> None:
    env = {**os.environ, "PYTHONPATH": str(ROOT / "operator")}
    # -S: without site-packages.
    done = subprocess.run(
        [sys.executable, "-P", "-S", "-s", "-c", f"import {module}"],
        env=env, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_profiles_accept_instructions_without_a_path_where_there_is_a_default() -> None:
    description = InstructionFile.model_fields["path"].description or ""
    for backend in BACKENDS.values():
        [rule] = [
            one["rule"] for one in AgentProfileSpec.RULES if f"'{backend.name}'" in one["rule"]
        ] or [""]
        assert ("instructionFiles" in rule) == (backend.instructions_path is None), backend.name
        assert (backend.instructions_path or "") in description


@pytest.mark.parametrize("file", ["values.yaml", "values.schema.json", "_profiles.tpl"])
def test_chart_has_a_profile_for_each_agent_in_its_images(file: str) -> None:
    expected = {camel(one.name): one.name for one in WITH_PROGRAM}
    if file == "values.yaml":
        values = yaml.safe_load((CHART / file).read_text(encoding="utf-8"))
        assert values["profiles"].keys() == expected.keys()
    elif file == "values.schema.json":
        schema = json.loads((CHART / file).read_text(encoding="utf-8"))
        assert schema["properties"]["profiles"]["properties"].keys() == expected.keys()
    else:
        template = (CHART / "templates/profiles" / file).read_text(encoding="utf-8")
        [listed] = re.findall(r"\$backends := dict (.*) -}}", template)
        words = re.findall(r'"(\w+)"', listed)
        assert dict(zip(words[::2], words[1::2], strict=True)) == expected


def test_pages_list_the_backends() -> None:
    page = (ROOT / "docs/backends.md").read_text(encoding="utf-8")
    local = [one for one in BACKENDS.values() if not one.is_remote]
    headers = re.findall(r"^\| (?:capability )?\|? ?(`codex`.*)$", page, re.MULTILINE)
    assert len(headers) == 2
    for header in headers:
        assert re.findall(r"`(\w+)`", header) == [one.name for one in local]
    [provided] = re.findall(r"^\| provider's API \| (.*) \|$", page, re.MULTILINE)
    for one, cell in zip(local, provided.split(" | "), strict=True):
        assert cell.startswith(one.provider_api.value if one.provider_api else "set by"), one.name

    requirements = (ROOT / "docs/agent-image.md").read_text(encoding="utf-8")
    for one in WITH_PROGRAM:
        assert f"`{' '.join(one.command)}`" in requirements

    terms = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    [row] = re.findall(r"^\| backend \| (.*) \|$", terms, re.MULTILINE)
    assert [name for name in re.findall(r"`(\w+)`", row) if name != "spec"] == list(BACKENDS)


def test_command_line_lists_the_backends() -> None:
    help_text = Path(start.__file__).read_text(encoding="utf-8")
    [listed] = re.findall(r'help="(.*)\. Default: that of"', help_text)
    assert re.split(", | or ", listed) == list(BACKENDS)
    assert f"else {DEFAULT.name}." in help_text
