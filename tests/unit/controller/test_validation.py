"""Which runs are refused before they have a pod."""

from typing import Any

import pytest

from agentrun.controller.validation import validation_failure
from dev.failures import FAILURES
from tests.failures import check_end
from tests.unit.controller.samples import a_profile, a_run, seen


@pytest.mark.parametrize(
    ("run", "profile", "is_refused"),
    [
        pytest.param({}, {}, True, id="no-model"),
        pytest.param({"model": "m"}, {}, False, id="the-runs"),
        pytest.param({}, {"models": {"default": "m"}}, False, id="the-profiles"),
        pytest.param(
            {},
            {"env": [{"name": "OPENCODE_CONFIG_CONTENT", "value": "{}"}]},
            False,
            id="in-a-config-of-its-own",
        ),
    ],
)
def test_run_of_opencode_needs_a_model(
    run: dict[str, Any], profile: dict[str, Any], is_refused: bool
) -> None:
    made = a_run(spec={"backend": "opencode", "profile": "codex", **run})
    failure = validation_failure(
        made, seen(profile=a_profile(backend="opencode", **profile), pod=None)
    )
    refusal = failure.message if failure else ""
    assert ("models.default of AgentProfile codex" in refusal) == is_refused


@pytest.mark.failure("run-misnamed")
@pytest.mark.parametrize("name", ["has.a.dot", "a" * 53])
def test_run_of_an_earlier_version_whose_name_is_no_pods_is_refused(name: str) -> None:
    failure = validation_failure(a_run(meta={"name": name}), seen(profile=a_profile(), pod=None))
    assert failure is not None
    row = next(row for row in FAILURES if row.key == "run-misnamed")
    check_end(row, row.phase, failure.reason, failure.message)
