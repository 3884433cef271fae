from datetime import UTC, datetime, timedelta

import pytest

from agentrun.api import names

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def test_run_ids_sort_by_time() -> None:
    ids = [names.new_run_id(NOW + timedelta(milliseconds=step)) for step in range(50)]
    assert ids == sorted(ids)


def test_run_ids_created_at_the_same_time_differ() -> None:
    assert len({names.new_run_id(NOW) for _ in range(1000)}) == 1000


def test_a_run_id_with_an_attempt_fits_into_a_label() -> None:
    for name in (names.new_run_id(NOW), names.run_id_for_key("ns", "caller", "key")):
        assert len(name) <= names.MAX_RUN_NAME
        assert len(names.pod_name(name, 11)) <= 63


def test_an_idempotency_key_is_scoped_to_caller_and_namespace() -> None:
    first = names.run_id_for_key("ns", "ada", "k")
    assert first == names.run_id_for_key("ns", "ada", "k")
    others = {
        names.run_id_for_key("ns", "ada", "l"),
        names.run_id_for_key("ns", "bob", "k"),
        names.run_id_for_key("other", "ada", "k"),
        names.run_id_for_key("n", "sada", "k"),
    }
    assert len(others | {first}) == 5


@pytest.mark.parametrize(
    ("pod", "parsed"),
    [
        pytest.param("run-abc-1", ("run-abc", 1), id="attempt"),
        pytest.param("run-abc-12", ("run-abc", 12), id="two-digits"),
        pytest.param("run-abc-x", None, id="no-number"),
        pytest.param("7", None, id="no-run"),
    ],
)
def test_a_pod_name_contains_run_and_attempt(pod: str, parsed: tuple[str, int] | None) -> None:
    assert names.parse_pod_name(pod) == parsed


@pytest.mark.parametrize(
    ("nickname", "name"),
    [
        ("ada", "ada"),
        ("Ada Lovelace", "ada-lovelace"),
        ("  --x__y  ", "x-y"),
        ("ÄÖ", ""),
        ("a" * 80, "a" * 52),
    ],
)
def test_a_nickname_becomes_a_kubernetes_name(nickname: str, name: str) -> None:
    assert names.agent_name(nickname) == name
