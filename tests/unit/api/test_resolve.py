"""What a run gets from its profile, and what the profile refuses it."""

from typing import Any

import pytest

from agentrun.api.resolve import Refusal, RunTimeouts, profile_refusal, timeouts_of, workspace_of
from agentrun.api.v1alpha1 import AgentProfileSpec, AgentRun, AgentRunSpec, Timeouts, Workspace

PROFILE = AgentProfileSpec.model_validate(
    {
        "backend": "claude_code",
        "image": "agent",
        "models": {"allowed": ["small", "large"]},
        "volumes": ["shared"],
        "workspace": {"volume": "shared"},
    }
)
BARE = AgentProfileSpec(backend="claude_code", image="agent")


def a_run(**spec: Any) -> AgentRun:
    spec = {"backend": "claude_code", "prompt": "fix it", **spec}
    return AgentRun.model_validate({"metadata": {"name": "fix-1"}, "spec": spec})


@pytest.mark.parametrize(
    ("backend", "model", "volume", "refusal"),
    [
        ("claude_code", "large", "shared", None),
        ("claude_code", None, None, None),
        ("codex", "huge", "own", Refusal("backend", "codex", ["claude_code"])),
        ("claude_code", "huge", "own", Refusal("model", "huge", ["small", "large"])),
        ("claude_code", "small", "own", Refusal("volume", "own", ["shared"])),
    ],
)
def test_the_first_value_that_a_profile_does_not_allow_is_refused(
    backend: str, model: str | None, volume: str | None, refusal: Refusal | None
) -> None:
    assert profile_refusal(PROFILE, backend, model, volume) == refusal


def test_a_profile_that_lists_no_models_allows_all_of_them_but_no_volume() -> None:
    assert profile_refusal(BARE, "claude_code", "huge", None) is None
    assert profile_refusal(BARE, "claude_code", None, "own") == Refusal("volume", "own", [])


def test_a_run_s_workspace_replaces_its_profile_s() -> None:
    own = AgentRunSpec.model_validate(
        {"backend": "claude_code", "prompt": "fix it", "workspace": {"cwd": "src"}}
    )
    none = AgentRunSpec(backend="claude_code", prompt="fix it")
    assert workspace_of(own, PROFILE) == Workspace(cwd="src")
    assert workspace_of(none, PROFILE) == Workspace(volume="shared")
    assert workspace_of(none, BARE) == Workspace()


def test_a_run_shortens_the_timeouts_of_its_profile_and_never_extends_them() -> None:
    defaults = RunTimeouts(deadline=1, input=2, grace=3, idle=4)
    offered = BARE.model_copy(
        update={"timeouts": Timeouts(active_deadline_seconds=100, input_timeout_seconds=100)}
    )
    asked = Timeouts(
        active_deadline_seconds=50, input_timeout_seconds=200, idle_timeout_seconds=300
    )
    run = a_run().spec.model_copy(update={"timeouts": asked})
    assert timeouts_of(run, offered, defaults) == RunTimeouts(50, 100, 3, 300)
    assert timeouts_of(run, None, defaults) == RunTimeouts(50, 200, 3, 300)
    assert timeouts_of(a_run().spec, offered, defaults) == RunTimeouts(100, 100, 3, 4)
    assert timeouts_of(a_run().spec, None, defaults) == defaults


def test_a_run_names_its_profile_and_session_or_takes_the_default() -> None:
    assert (a_run().spec.profile_name, a_run().session_name) == ("claude-code", "fix-1")
    named = a_run(profile="large", session={"name": "talk"})
    assert (named.spec.profile_name, named.session_name) == ("large", "talk")
    assert a_run(session={"mode": "new"}).session_name == "fix-1"
