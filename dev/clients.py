"""
The real MCP clients on this machine: Claude Code and Codex, as the agent image pins them.

Tests start them outside of the cluster, each with its own HOME, to verify that they work with the
bridge as users run it. Beside them is Ajv, the validator of the TypeScript SDK.
"""

import hashlib
import os
import shutil
import sys
from pathlib import Path

from dev import paths, tools
from dev.shell import run, step

PINS = paths.CHECKOUT / "images" / "agent"
_FILES = ("package.json", "package-lock.json", "requirements-npm.txt")
_CLAUDE = "node_modules/@anthropic-ai/claude-code-linux-x64/claude"
_LIBRARIES = (
    "ajv", "fast-deep-equal", "fast-uri", "json-schema-traverse", "require-from-string"
)  # fmt: skip
"""Ajv and what it requires."""
_CODEX = "node_modules/@openai/codex-linux-x64/vendor/x86_64-unknown-linux-musl"


def install() -> Path:
    """
    Install the pinned programs once. Return the folder with `claude` and `codex`.

    The folder `lib` beside it is for Node's modules.
    """
    home = paths.cache() / f"clients-{_digest()}"
    with tools.alone("clients"):
        if not home.exists():
            with step("installing claude and codex"):
                _install(home)
    return home / "bin"


def _install(home: Path) -> None:
    part = home.with_suffix(".part")
    shutil.rmtree(part, ignore_errors=True)
    (part / "bin").mkdir(parents=True)
    for name in _FILES:
        shutil.copy(PINS / name, part)
    run([sys.executable, "-m", "venv", part / "npm"])
    run([part / "npm/bin/pip", "install", "-q", "--require-hashes", "-r", part / _FILES[2]])
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    run(
        ["npm", "ci", "--omit=optional", "--ignore-scripts", *quiet],
        cwd=part,
        env={**os.environ, "PATH": f"{part / 'npm/bin'}:{os.environ['PATH']}"},
    )
    (part / _CLAUDE).rename(part / "bin" / "claude")
    (part / _CODEX).rename(part / "codex")
    (part / "bin" / "codex").symlink_to("../codex/bin/codex")
    (part / "lib/node_modules").mkdir(parents=True)
    for name in _LIBRARIES:
        (part / "node_modules" / name).rename(part / "lib/node_modules" / name)
    for rest in ("node_modules", "npm"):
        shutil.rmtree(part / rest)
    # The rename marks the installation as complete.
    part.rename(home)


def _digest() -> str:
    digest = hashlib.sha256(" ".join(_LIBRARIES).encode())
    for name in _FILES:
        digest.update((PINS / name).read_bytes())
    return digest.hexdigest()[:16]
