"""Sums of Kubernetes quantities."""

import pytest

from agentrun.api.quantities import total


@pytest.mark.parametrize(
    ("quantities", "expected"),
    [
        pytest.param(("1Gi", "1Mi"), "1025Mi", id="binary"),
        pytest.param(("1M",), "1Mi", id="rounded-up"),
        pytest.param(("1.5Gi", "0"), "1536Mi", id="fractions"),
        pytest.param(("1048576",), "1Mi", id="plain-bytes"),
    ],
)
def test_adding_quantities(quantities: tuple[str, ...], expected: str) -> None:
    assert total(*quantities) == expected
