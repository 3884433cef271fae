import pytest

from tests.unit.runner import harness


@pytest.fixture(autouse=True)
def quick_tests_start_no_pods(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keep `make test-quick` quick: what starts a pod is left out of it."""
    is_slow = request.node.get_closest_marker("slow") is not None
    monkeypatch.setattr(harness, "may_start", is_slow)
