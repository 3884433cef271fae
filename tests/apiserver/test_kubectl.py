"""What people see with kubectl."""

import re

import pytest

from tests.apiserver.conftest import Objects, kubectl


async def test_runs_have_short_names_and_a_category(runs: Objects) -> None:
    name = (await runs.create({"backend": "codex", "prompt": "x"}))["metadata"]["name"]
    for word in ("run", "runs", "agentrun", "agentruns", "all", "agentrun-dev"):
        assert name in kubectl("get", word, "-n", runs.namespace)
    assert kubectl("get", "agentrun", name, "-o", "name", "-n", runs.namespace).strip() == (
        f"agentrun.agentrun.dev/{name}"
    )


async def test_profiles_and_sessions_have_a_category_but_are_not_in_all(
    profiles: Objects, sessions: Objects
) -> None:
    made = [
        await profiles.create({"backend": "codex", "image": "i"}),
        await sessions.create({"backend": "codex"}),
    ]
    everything = kubectl("get", "all", "-o", "name", "-n", profiles.namespace)
    ours = kubectl("get", "agentrun-dev", "-o", "name", "-n", profiles.namespace)
    for one in made:
        assert one["metadata"]["name"] in ours
        assert one["metadata"]["name"] not in everything


@pytest.mark.parametrize("second", ["00Z", "00.250Z"], ids=["by-an-older-version", "now"])
async def test_the_columns_show_what_a_run_is_doing_and_since_when(
    runs: Objects, second: str
) -> None:
    name = (await runs.create({"backend": "codex", "prompt": "x"}))["metadata"]["name"]
    times = dict.fromkeys(("startTime", "completionTime"), f"2026-01-01T00:00:{second}")
    await runs.patch_status(name, {"phase": "Running", "reason": "Working", **times})
    header, row = kubectl("get", "run", name, "-n", runs.namespace).splitlines()
    assert header.split() == ["NAME", "BACKEND", "PHASE", "REASON", "STARTED", "FINISHED", "AGE"]
    assert row.split()[:4] == [name, "codex", "Running", "Working"]
    assert all(re.fullmatch(r"(\d+[ydhms])+", age) for age in row.split()[4:]), row


async def test_runs_can_be_selected_by_phase_and_session_on_the_server(runs: Objects) -> None:
    name = (await runs.create({"backend": "codex", "prompt": "x", "session": {"name": "chosen"}}))[
        "metadata"
    ]["name"]
    await runs.patch_status(name, {"phase": "Failed"})
    found = await runs.list(fields="spec.session.name=chosen,status.phase=Failed")
    assert [run["metadata"]["name"] for run in found] == [name]


async def test_waiting_for_a_finished_run_works(runs: Objects) -> None:
    name = (await runs.create({"backend": "codex", "prompt": "x"}))["metadata"]["name"]
    condition = {"type": "Finished", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
    await runs.patch_status(name, {"phase": "Failed", "conditions": [condition]})
    kubectl("wait", "--for=condition=Finished", f"run/{name}", "-n", runs.namespace, "--timeout=5s")


def test_explain_reads_like_documentation() -> None:
    text = kubectl("explain", "run.spec.desiredState")
    assert "Set it to Cancelled to stop the run" in text
    assert text.split()[text.split().index("ENUM:") + 1 :][:2] == ["Active", "Cancelled"]
    every = kubectl("explain", "run", "--recursive=false") + kubectl("explain", "run.status")
    assert "<no description>" not in every
