"""
Lists the modules of the product that are small or serve one other module alone, and shared names.

``python -m dev.modules FILE`` writes the list. It is committed, so that a review shows what joins
it: most such modules read better as a part of their only importer, but some have a reason to be
separate, such as a purity contract or an early import. A class name that two modules define names
one thing in each program at best, and two things in one program at worst.
"""

import ast
import sys
from collections import defaultdict
from pathlib import Path

import grimp

from dev import paths

PACKAGES = {"agentrun": paths.CHECKOUT / "operator", "mcp_server": paths.CHECKOUT}
FEW_LINES = 30
_HEADER = """\
# Modules of fewer than 30 lines, and modules that one other module alone imports. Made by
# `make generate`. A new line is not an error: see whether it reads better as a part of another.
"""
_CLASSES = """\
# Class names that more than one module defines. A new line is not an error: see whether another
# name tells the two apart.
"""


def page() -> str:
    """Return the list: a line for each module with why it is there, then one for each name."""
    graph = grimp.build_graph(*PACKAGES, cache_dir=None)
    lines = []
    for module in sorted(graph.modules):
        file = _file(module)
        if file.name in ("__init__.py", "__main__.py"):
            continue
        importers = graph.find_modules_that_directly_import(module)
        why = []
        if len(file.read_text(encoding="utf-8").splitlines()) < FEW_LINES:
            why.append(f"fewer than {FEW_LINES} lines")
        if len(importers) == 1:
            why.append(f"imported by {next(iter(importers))} alone")
        if why:
            lines.append(f"{module}: {', '.join(why)}\n")
    return _HEADER + "".join(lines) + _CLASSES + "".join(_shared_names(graph.modules))


def _shared_names(modules: set[str]) -> list[str]:
    """Return a line for each public class name that more than one module defines."""
    homes = defaultdict[str, list[str]](list)
    for module in sorted(modules):
        for node in ast.parse(_file(module).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                homes[node.name].append(module)
    shared = {name: found for name, found in homes.items() if len(found) > 1}
    return [f"{name}: {', '.join(shared[name])}\n" for name in sorted(shared)]


def _file(module: str) -> Path:
    top, *_ = module.split(".")
    base = PACKAGES[top].joinpath(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def main(target: str) -> None:
    """Write the list to ``target``."""
    Path(target).write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
