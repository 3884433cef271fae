"""Every set of values that the documentation shows is one that the chart takes."""

import re
from pathlib import Path

import pytest

from tests.unit.chart import helm

BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)

EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in sorted((helm.ROOT / "docs").glob("*.md"))
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), start=1)
    if "apiVersion:" not in block
]


def test_the_pages_of_clients_and_operations_have_examples() -> None:
    assert {"clients", "operations"} <= {str(one.id).rpartition("-")[0] for one in EXAMPLES}


@pytest.mark.parametrize("values", EXAMPLES)
def test_values_of_the_documentation_render(tmp_path: Path, values: str) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(values)
    done = helm.template("--values", file)
    assert done.returncode == 0, done.stderr
