"""Every object that the documentation shows is one that the API server takes."""

import re
import subprocess
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^```yaml\n(.*?)^```", re.DOTALL | re.MULTILINE)

EXAMPLES = [
    pytest.param(block, id=f"{page.stem}-{number}")
    for page in sorted(DOCS.glob("*.md"))
    for number, block in enumerate(BLOCK.findall(page.read_text(encoding="utf-8")), start=1)
    # The others are values of the chart: tests/unit/chart/test_docs.py renders it with them.
    if "apiVersion:" in block
]


def test_the_pages_of_profiles_have_examples() -> None:
    assert {"profiles-1", "git-1"} <= {example.id for example in EXAMPLES}


@pytest.mark.parametrize("example", EXAMPLES)
def test_examples_can_be_applied(namespace: str, example: str) -> None:
    command = ["kubectl", "apply", "--server-side", "--dry-run=server", "--validate=strict"]
    done = subprocess.run(
        [*command, "-n", namespace, "-f", "-"],
        input=example.replace("namespace: agents", f"namespace: {namespace}"),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
