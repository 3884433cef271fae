"""How the Gemini CLI finds a restored conversation again."""

from pathlib import Path

from agentrun.backends.gemini import GEMINI
from agentrun.runner.folders import Folder


def test_of_geminis_files_only_the_conversation_is_kept_with_another_timestamp(
    tmp_path: Path,
) -> None:
    chats = tmp_path / ".gemini/tmp/workspace/chats"
    chats.mkdir(parents=True)
    (chats / "session-2026-01-02T03-04-0123abcd.jsonl").write_text("what was said\n" * 3)
    (chats / "session-2026-01-02T03-05-0123abcd.jsonl").write_text("nothing\n")
    (chats / "session-2026-01-02T03-05-4567cdef.jsonl").write_text("another's\n" * 9)
    GEMINI.after_restore(Folder.at(tmp_path), "0123abcd-4567-4567-4567-0123456789ab")
    [kept] = chats.iterdir()
    assert kept.name == "session-2000-01-01T00-00-0123abcd.jsonl"
    assert kept.read_text() == "what was said\n" * 3


def test_targets_of_links_are_not_changed(tmp_path: Path) -> None:
    home, elsewhere = tmp_path / "home", tmp_path / "elsewhere"
    (home / ".gemini/tmp").mkdir(parents=True)
    (elsewhere / "chats").mkdir(parents=True)
    file = elsewhere / "chats/session-2026-01-02T03-04-0123abcd.jsonl"
    file.write_text("not the agent's")
    (home / ".gemini/tmp/workspace").symlink_to(elsewhere)
    GEMINI.after_restore(Folder.at(home), "0123abcd-4567")
    assert file.exists()
