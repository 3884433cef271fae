"""Which files of an agent's home hold its conversations, by backend."""

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

_CONVERSATIONS: Mapping[str, Sequence[str]] = {
    "codex": (
        ".codex/sessions",
        ".codex/*.sqlite",
        ".codex/*.sqlite-wal",
        ".codex/session_index.jsonl",
    ),
    "claude_code": (".claude/projects", ".claude/todos", ".claude.json"),
    "opencode": (".local/share/opencode", ".local/state/opencode"),
    "gemini": (".gemini/tmp", ".gemini/history", ".gemini/projects.json"),
}
_WRITTEN_BY_THE_RUNNER = frozenset({".gitconfig"})
_CACHES = frozenset({".cache", ".npm", ".cargo", ".rustup", ".gradle", ".m2", "node_modules"})
"""What an unknown agent's home holds beside conversations, and any pod can get again."""


def conversation_files(backend: str, home: Path) -> Iterator[Path]:
    """Name the files and folders of ``home`` to keep; what is below the folders goes with them."""
    patterns = _CONVERSATIONS.get(backend)
    if patterns is None:
        left_out = _CACHES | _WRITTEN_BY_THE_RUNNER
        yield from (one for one in sorted(home.iterdir()) if one.name not in left_out)
        return
    for pattern in patterns:
        yield from (one for one in sorted(home.glob(pattern)) if not _leads_away(one, home))


def _leads_away(path: Path, home: Path) -> bool:
    """Whether a folder between the home and ``path`` is a link: the agent may have made it one."""
    real = Path(os.path.realpath(home)) / path.parent.relative_to(home)
    return os.path.realpath(path.parent) != str(real)
