"""Every rule of the CRDs, tried on a real API server: what it refuses, and what it must not."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from agentrun.kube.errors import ApiError
from tests import asked
from tests.apiserver.conftest import Objects

SPEC: dict[str, Any] = {"backend": "codex", "prompt": "say hello"}

FULL: dict[str, Any] = {
    "backend": "codex",
    "role": "reviewer",
    "prompt": "say hello",
    "inputMessage": {"role": "user", "parts": [{"type": "data", "data": {"a": {"b": [1, None]}}}]},
    "profile": "codex",
    "model": "gpt",
    "workspace": {"git": {"url": "https://example.com/x.git", "depth": 0}, "cwd": "src"},
    "session": {"mode": "new", "name": "ada"},
    "resumedFrom": "run-before",
    "parent": {"name": "run-above", "uid": "u", "depth": 1},
    "outputSchema": {"type": "object", "properties": {"a": {"type": "string"}}},
    "metadata": {"ticket": {"id": 7}},
    "backendConfig": {"agent_url": "https://example.com"},
    "timeouts": {"activeDeadlineSeconds": 60},
    "retry": {"limit": 2},
    "ttlSecondsAfterFinished": 5,
}

OTHER: dict[str, Any] = {
    "backend": "claude_code",
    "role": "planner",
    "prompt": "say goodbye",
    "inputMessage": {"parts": [{"type": "text", "text": "x"}]},
    "profile": "other",
    "model": "other",
    "workspace": {"git": {"url": "https://example.com/y.git"}},
    "session": {"name": "bob"},
    "resumedFrom": "run-other",
    "parent": {"name": "run-above", "uid": "v", "depth": 1},
    "outputSchema": {"properties": {"a": {"type": "number"}}},
    "metadata": {"ticket": {"id": 8}},
    "backendConfig": {"agent_url": "https://example.org"},
    "timeouts": {"activeDeadlineSeconds": 61},
    "retry": {"limit": 3},
    "ttlSecondsAfterFinished": 6,
}

TERMINAL = ["Completed", "Failed", "Cancelled", "Rejected"]
INPUT = {"seq": 1, "message": {"role": "user", "parts": [{"type": "text", "text": "yes"}]}}


@contextmanager
def refused(saying: str) -> Iterator[None]:
    """The API server answers 422 Invalid, with these words."""
    with pytest.raises(ApiError) as caught:
        yield
    assert caught.value.status == 422
    assert saying in caught.value.message


def name_of(run: dict[str, Any]) -> str:
    name: str = run["metadata"]["name"]
    return name


@pytest.mark.parametrize("spec", [{"backend": "codex", "inputMessage": INPUT["message"]}, SPEC])
async def test_prompt_or_message_is_sufficient(runs: Objects, spec: dict[str, Any]) -> None:
    assert (await runs.create(spec))["spec"]["desiredState"] == "Active"


async def test_a_run_without_prompt_and_message_is_refused(runs: Objects) -> None:
    with refused("Either prompt or inputMessage is required"):
        await runs.create({"backend": "codex"})


@pytest.mark.parametrize("given", asked.ACCEPTED.values(), ids=asked.ACCEPTED)
async def test_what_spawn_run_accepts_is_accepted(runs: Objects, given: dict[str, Any]) -> None:
    await runs.create(asked.as_spec(given))


@pytest.mark.parametrize("given", asked.REFUSED.values(), ids=asked.REFUSED)
async def test_what_spawn_run_refuses_is_refused(runs: Objects, given: dict[str, Any]) -> None:
    with refused("spec"):
        await runs.create(asked.as_spec(given))


@pytest.mark.parametrize(
    ("message", "is_blank"),
    [
        pytest.param(asked.message(asked.text(asked.BLANKS)), True, id="blank"),
        pytest.param(asked.message(asked.text(" "), asked.text("")), True, id="blank-parts"),
        pytest.param(asked.message(asked.text(" "), asked.text("x")), False, id="text"),
        pytest.param(asked.message({"type": "data", "data": {}}), False, id="data"),
    ],
)
async def test_an_answer_says_something(
    runs: Objects, message: dict[str, Any], is_blank: bool
) -> None:
    name = name_of(await runs.create(SPEC))
    patch = {"spec": {"inputs": [{"seq": 1, "message": message}]}}
    if not is_blank:
        assert (await runs.patch(name, patch))["spec"]["inputs"][0]["message"]["parts"]
        return
    with refused("spec.inputs[0].message"):
        await runs.patch(name, patch)


@pytest.mark.parametrize(
    ("spec", "saying"),
    [
        pytest.param({"backend": "codex", "prompt": " "}, "the prompt is empty", id="blank-prompt"),
        pytest.param(
            {"backend": "codex", "inputMessage": asked.message(asked.text(" "))},
            "inputMessage is empty",
            id="blank-message",
        ),
        pytest.param({**SPEC, "backend": "eliza"}, "Unsupported value", id="unknown-backend"),
        pytest.param({"prompt": "x"}, "spec.backend: Required", id="no-backend"),
        pytest.param({**SPEC, "prompt": "x" * 131_073}, "Too long", id="prompt-too-long"),
        pytest.param({**SPEC, "profile": "No_Name"}, "should match", id="profile-no-name"),
        pytest.param({**SPEC, "desiredState": "Paused"}, "Unsupported", id="unknown-desired-state"),
        pytest.param({**SPEC, "retry": {"limit": 11}}, "less than or equal to 10", id="retries"),
        pytest.param(
            {**SPEC, "inputMessage": {"parts": []}}, "at least 1 items", id="message-without-parts"
        ),
        pytest.param(
            {**SPEC, "cancellation": {"reason": "x"}}, "requires desiredState", id="not-cancelled"
        ),
    ],
)
async def test_a_malformed_spec_is_refused(
    runs: Objects, spec: dict[str, Any], saying: str
) -> None:
    with refused(saying):
        await runs.create(spec)


async def test_a_prompt_of_128_kib_is_accepted(runs: Objects) -> None:
    assert len((await runs.create({**SPEC, "prompt": "x" * 131_072}))["spec"]["prompt"]) == 131_072


@pytest.mark.parametrize("field", FULL)
async def test_a_field_of_the_spec_cannot_be_changed(runs: Objects, field: str) -> None:
    name = name_of(await runs.create(FULL))
    with refused(f"{field} is immutable"):
        await runs.patch(name, {"spec": {field: OTHER[field]}})
    assert (await runs.get(name))["spec"][field] == (
        await runs.patch(name, {"spec": {field: FULL[field]}})
    )["spec"][field]


@pytest.mark.parametrize(
    "field", [field for field in FULL if field not in ("backend", "role", "prompt")]
)
async def test_an_optional_field_can_be_neither_added_nor_removed(
    runs: Objects, field: str
) -> None:
    with refused(f"{field} is immutable"):
        await runs.patch(name_of(await runs.create(SPEC)), {"spec": {field: FULL[field]}})
    with refused(f"{field} is immutable"):
        await runs.patch(name_of(await runs.create(FULL)), {"spec": {field: None}})


async def test_free_form_fields_are_stored_unchanged(runs: Objects) -> None:
    spec = (await runs.create(FULL))["spec"]
    for field in ("outputSchema", "metadata", "backendConfig", "inputMessage"):
        assert spec[field] == FULL[field]


async def test_cancelling_is_irreversible_and_idempotent(runs: Objects) -> None:
    name = name_of(await runs.create(SPEC))
    wish = {"spec": {"desiredState": "Cancelled", "cancellation": {"requestedBy": "ada"}}}
    await runs.patch(name, wish)
    assert (await runs.patch(name, wish))["spec"]["cancellation"] == {"requestedBy": "ada"}
    with refused("cannot go back from Cancelled"):
        await runs.patch(name, {"spec": {"desiredState": "Active", "cancellation": None}})


async def test_a_cancellation_is_set_once(runs: Objects) -> None:
    name = name_of(await runs.create(SPEC))
    await runs.patch(name, {"spec": {"desiredState": "Cancelled"}})
    await runs.patch(name, {"spec": {"cancellation": {"requestedBy": "ada"}}})
    with refused("cancellation is immutable once set"):
        await runs.patch(name, {"spec": {"cancellation": {"requestedBy": "bob"}}})
    with refused("cancellation is immutable once set"):
        await runs.patch(name, {"spec": {"cancellation": None}})


async def test_inputs_only_grow(runs: Objects) -> None:
    name = name_of(await runs.create(SPEC))
    second = {**INPUT, "seq": 2}
    await runs.patch(name, {"spec": {"inputs": [INPUT]}})
    await runs.patch(name, {"spec": {"inputs": [INPUT, second]}})
    assert (
        len((await runs.patch(name, {"spec": {"inputs": [second, INPUT]}}))["spec"]["inputs"]) == 2
    )
    with refused("inputs can only be added"):
        await runs.patch(name, {"spec": {"inputs": [second]}})


async def test_an_input_cannot_be_changed_or_given_twice(runs: Objects) -> None:
    name = name_of(await runs.create(SPEC))
    await runs.patch(name, {"spec": {"inputs": [INPUT]}})
    with refused("an input cannot be changed"):
        await runs.patch(name, {"spec": {"inputs": [{**INPUT, "questionID": "q"}]}})
    with refused("Duplicate value"):
        await runs.patch(name, {"spec": {"inputs": [INPUT, INPUT]}})


@pytest.mark.parametrize("phase", TERMINAL)
async def test_a_terminal_phase_is_final(runs: Objects, phase: str) -> None:
    name = name_of(await runs.create(SPEC))
    await runs.patch_status(name, {"phase": "Running"})
    await runs.patch_status(name, {"phase": phase})
    await runs.patch_status(name, {"phase": phase, "message": "still so"})
    with refused("phase of a finished run is final"):
        await runs.patch_status(name, {"phase": "Running"})
    with refused("phase of a finished run is final"):
        await runs.patch_status(name, {"phase": None})
    with refused("phase of a finished run is final"):
        await runs.patch_status(name, None)


@pytest.mark.parametrize("phase", TERMINAL)
async def test_the_spec_of_a_finished_run_is_frozen(runs: Objects, phase: str) -> None:
    name = name_of(await runs.create(SPEC))
    await runs.patch_status(name, {"phase": phase})
    with refused("the run has finished"):
        await runs.patch(name, {"spec": {"desiredState": "Cancelled"}})
    with refused("the run has finished"):
        await runs.patch(name, {"spec": {"inputs": [INPUT]}})
    await runs.patch(name, {"metadata": {"labels": {"kept": "yes"}}})


async def test_a_cancelled_desired_state_excludes_completion_only(runs: Objects) -> None:
    name = name_of(await runs.create(SPEC))
    await runs.patch(name, {"spec": {"desiredState": "Cancelled"}})
    with refused("cannot become Completed"):
        await runs.patch_status(name, {"phase": "Completed"})
    await runs.patch_status(name, {"phase": "Cancelling"})
    assert (await runs.patch_status(name, {"phase": "Cancelled"}))["status"]["phase"] == "Cancelled"


async def test_the_status_accepts_every_observed_field(runs: Objects) -> None:
    name = name_of(await runs.create(SPEC))
    status = {
        "phase": "InputRequired",
        "podName": "p-1",
        "podUID": "u",
        "attempts": 1,
        "continuations": 1,
        "agent": {
            "state": "InputRequired",
            "sessionID": "s",
            "question": {"id": "q1", "kind": "permission", "text": "May I?"},
            "usage": {"inputTokens": 1, "costUSD": "0.001"},
            "snapshot": {"name": "snapshots/1", "sessionID": "s", "acknowledgedInput": 2},
            "snapshotError": "It is too large.",
            "outcome": {
                "attempt": 1,
                "state": "Interrupted",
                "waiting": True,
                "result": {"structured": [1, {"a": 2}]},
            },
        },
        "conditions": [
            {"type": "Finished", "status": "False", "lastTransitionTime": "2026-01-01T00:00:00Z"}
        ],
    }
    written = (await runs.patch_status(name, status))["status"]
    assert {key: written[key] for key in status} == {**status, "agent": status["agent"]} | {
        "conditions": written["conditions"]
    }


async def test_a_session_keeps_its_backend(sessions: Objects) -> None:
    name = name_of(await sessions.create({"backend": "codex"}))
    with refused("backend is immutable"):
        await sessions.patch(name, {"spec": {"backend": "claude_code"}})
    assert (await sessions.patch(name, {"spec": {"displayName": "Ada"}}))["spec"][
        "displayName"
    ] == "Ada"


async def test_a_snapshot_reference_has_the_form_of_a_snapshot_key(runs: Objects) -> None:
    name = name_of(await runs.create(SPEC))
    snapshot = {"name": "../other", "sessionID": "s"}
    with refused("should match"):
        await runs.patch_status(name, {"agent": {"snapshot": snapshot}})


async def test_a_sessions_snapshot_error_can_be_set_and_removed(sessions: Objects) -> None:
    name = name_of(await sessions.create({"backend": "codex"}))
    status = {"snapshot": "uid/snapshots/1", "sessionID": "s", "snapshotError": "It is too large."}
    written = (await sessions.patch_status(name, status))["status"]
    assert {key: written[key] for key in status} == status
    assert (
        "snapshotError"
        not in (await sessions.patch_status(name, {"snapshotError": None}))["status"]
    )


async def test_a_profile_needs_a_backend_and_an_image(profiles: Objects) -> None:
    assert (await profiles.create({"backend": "codex", "image": "i"}))["spec"]["imagePullPolicy"]
    with refused("spec.image: Required"):
        await profiles.create({"backend": "codex"})


async def test_a_profile_lists_repositories_as_urls_and_branches_by_name(profiles: Objects) -> None:
    async def made(**git: Any) -> Any:
        return await profiles.create({"backend": "codex", "image": "i", "git": git})

    assert (await made(credentialsSecret="one"))["spec"]["git"]["branches"] == ["agentrun/*"]
    await made(repositories=["https://git.example.com/team", "git@git.example.com:team/one.git"])
    await made(branches=["agentrun/*", "releases/1.2"])
    for wrong in ("git.example.com/team", "ext::sh -c x", "file:///etc"):
        with refused("each of repositories must be a URL with its scheme"):
            await made(repositories=[wrong])
    with refused("each of branches must be a branch name"):
        await made(branches=["-x"])


@pytest.mark.parametrize(
    "name", [pytest.param("v1.2", id="dot"), pytest.param("a" * 53, id="too-long-for-a-pod")]
)
async def test_a_run_has_a_name_that_its_pods_can_have(runs: Objects, name: str) -> None:
    with refused("the name of an AgentRun may have at most 52 characters, of a-z, 0-9 and -"):
        await runs.create(SPEC, name)


async def test_a_run_may_have_the_longest_name_that_its_pods_can_have(runs: Objects) -> None:
    assert name_of(await runs.create(SPEC, "a" * 52)) == "a" * 52


@pytest.mark.parametrize(
    "name", [pytest.param("ada.lovelace", id="dot"), pytest.param("a" * 64, id="too-long")]
)
async def test_a_session_has_a_name_that_a_run_can_give(sessions: Objects, name: str) -> None:
    with refused("the name of an AgentSession may have at most 63 characters"):
        await sessions.create({"backend": "codex"}, name)


async def test_what_a_run_names_may_have_any_name_of_kubernetes(runs: Objects) -> None:
    spec = {**SPEC, "profile": "gpt-5.1", "workspace": {"volume": "data.team-a"}}
    kept = (await runs.create(spec))["spec"]
    assert (kept["profile"], kept["workspace"]["volume"]) == ("gpt-5.1", "data.team-a")
