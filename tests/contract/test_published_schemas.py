"""The published schemas of the tools, in the strictest validator that clients have: Ajv."""

import asyncio
import json
from typing import Any
from unittest.mock import MagicMock

import pytest

from dev import clients
from mcp_server.server.app import build_server

# Ajv throws an error for a schema that it does not compile in strict mode.
COMPILE = """
const draft = require(process.argv[1]).default;
for (const [name, schema] of Object.entries(JSON.parse(require("fs").readFileSync(0)))) {
  try {
    new draft({strict: true, allErrors: true}).compile(schema);
  } catch (error) {
    console.log(name + ": " + error.message);
  }
}
console.log("done");
"""


async def compiled(module: str, schemas: dict[str, Any]) -> list[str]:
    """Compile the schemas, and return the errors."""
    library = await asyncio.to_thread(clients.install)
    node = await asyncio.create_subprocess_exec(
        "node", "-e", COMPILE, module, cwd=library.parent / "lib",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    out, _ = await node.communicate(json.dumps(schemas).encode())
    *errors, last = out.decode().splitlines()
    assert last == "done"
    return errors


@pytest.mark.parametrize("module", ["ajv", "ajv/dist/2020"])
async def test_the_schemas_compile_in_strict_mode(module: str) -> None:
    schemas = dict[str, Any]()
    for tool in await build_server(MagicMock()).list_tools():
        schemas[f"{tool.name}: input"] = tool.input_schema
        schemas[f"{tool.name}: output"] = tool.output_schema
    assert len(schemas) == 20
    assert await compiled(module, schemas) == []


async def test_strict_mode_refuses_the_keywords_of_kubernetes() -> None:
    [error] = await compiled("ajv", {"x": {"type": "object", "x-kubernetes-map-type": "atomic"}})
    assert "unknown keyword" in error
