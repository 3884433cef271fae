from pathlib import Path

import pytest

from dev import memory


@pytest.mark.parametrize(
    ("meminfo", "expected"),
    [
        pytest.param("MemFree: 5 kB\nCached:  2 kB\nSwapCached: 7 kB\n", 2048, id="linux"),
        pytest.param("MemFree: 5 kB\n", 0, id="unknown"),
    ],
)
def test_cached_bytes_are_read_from_meminfo(meminfo: str, expected: int) -> None:
    assert memory.cached_bytes(meminfo) == expected


@pytest.mark.parametrize(
    ("kilobytes", "microseconds", "dropped", "compacted"),
    [
        pytest.param(1 << 20, 0.1, "", "", id="well"),
        pytest.param(1 << 23, 0.1, "3", "", id="large-cache"),
        pytest.param(1 << 20, 20.0, "3", "1", id="slow"),
    ],
)
def test_the_page_cache_is_dropped_where_it_counts_as_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
    kilobytes: int, microseconds: float, dropped: str, compacted: str,
) -> None:  # fmt: skip
    for name in ("_DROP", "_COMPACT", "_MEMINFO"):
        file = tmp_path / name
        file.write_text("", encoding="ascii")
        monkeypatch.setattr(memory, name, file)
    (tmp_path / "_MEMINFO").write_text(f"Cached: {kilobytes} kB\n", encoding="ascii")
    monkeypatch.setattr(memory, "look_microseconds", lambda: microseconds)
    memory.heal()
    assert (tmp_path / "_DROP").read_text(encoding="ascii") == dropped
    assert (tmp_path / "_COMPACT").read_text(encoding="ascii") == compacted


def test_reading_memory_takes_time() -> None:
    assert memory.look_microseconds() > 0
