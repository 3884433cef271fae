"""The files of an agent's home that contain its conversations, by backend."""

import fnmatch
from collections.abc import Iterator, Mapping, Sequence

from agentrun.runner.folders import Folder

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
"""Caches in an unknown agent's home, which any pod can recreate."""


def conversation_files(backend: str, home: Folder) -> Iterator[str]:
    """Yield the files and folders of ``home`` to store; folders include everything below them."""
    patterns = _CONVERSATIONS.get(backend)
    if patterns is None:
        left_out = _CACHES | _WRITTEN_BY_THE_RUNNER
        yield from (name for name in home.names() if name not in left_out)
        return
    for pattern in patterns:
        above, _, last = pattern.rpartition("/")
        try:
            with home.folder(above) as folder:
                names = fnmatch.filter(folder.names(), last)
        except OSError:
            continue  # missing, or behind a link, which leads elsewhere
        yield from (f"{above}/{name}" if above else name for name in names)
