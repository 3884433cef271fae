"""An agent that wants the runner's secrets, and does not hold still, gets none of them."""

import asyncio
import base64
import json
import re
import subprocess
from pathlib import Path
from secrets import token_hex
from typing import Any

import pytest
import pytest_asyncio

from agentrun.api.pod_layout import RUNNER, TOKEN_FILE
from dev import product
from tests.e2e.cluster import RUNS, SYSTEM, apply, delete, kubectl, there
from tests.e2e.installation import REPOSITORY, Installation, profile
from tests.e2e.places import Place
from tests.waiting import LATE_SECONDS

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(600)]

# The whole word stands in no prompt: what looks for it puts it together.
MARK, LOOKED_FOR = "canary-", 'can""ary-'
PROGRAM = (Path(__file__).parent / "hostile.py").read_bytes()
BE_HOSTILE = (
    f"echo {base64.b64encode(PROGRAM).decode()} | base64 -d >/tmp/h.py;"
    " python3 /tmp/h.py >/dev/null 2>&1"
)
# -r follows no links: who resumes may make them, and finds nothing behind them.
LOOK = (
    f'grep -rlaE "{LOOKED_FOR}|development-""only" /workspace "$HOME" 2>/dev/null;'
    " ls -a /workspace; echo looked"
)
SCAN = """
import gzip, os, sys
wanted = [one.encode() for one in sys.argv[1:]]
longest = max(map(len, wanted))
found, files = set(), 0

def look_through(opened, path):
    before = b""
    while piece := opened.read(1 << 20):
        found.update(path for one in wanted if one in before + piece)
        before = piece[-longest:]

for folder, _, names in os.walk("/data"):
    for name in names:
        path = os.path.join(folder, name)
        try:
            with open(path, "rb") as opened:
                is_packed = opened.read(2) == b"\\x1f\\x8b"
                opened.seek(0)
                look_through(opened, path)
            if is_packed:
                with gzip.open(path) as opened:
                    look_through(opened, path)
        except FileNotFoundError:
            continue  # A snapshot that a newer one has replaced meanwhile.
        files += 1
print(files, *found)
"""
"""Piece by piece: what the other tests have left there is more than the pod has memory."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def canaries(platform: Installation) -> list[str]:
    """What the runner has in the profile `hostile`, and its agent has not."""
    key = f"{MARK}{token_hex(12)}"
    secret = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "hostile-provider", "namespace": RUNS},
        "stringData": {"canary": key},
    }
    spec: dict[str, Any] = {
        "git": product.GIT_ACCESS,
        "provider": {
            "baseURL": "http://model.agentrun-dev.svc:8080",
            "keySecret": {"name": "hostile-provider", "key": "canary"},
        },
        "env": [{"name": "ACP_AGENT_MEMORY", "value": ".trivial"}],
        "timeouts": {"terminationGracePeriodSeconds": 30},
    }
    await apply(secret, profile("hostile", **spec))
    return [key, product.GIT_PASSWORD]


async def test_the_runners_secrets_do_not_leak(
    platform: Installation, canaries: list[str], git_url: str, tmp_path: Path
) -> None:
    first = await platform.trivial(
        ["run", BE_HOSTILE], ["say", "Done."],
        profile="hostile", workspace={"git": {"url": REPOSITORY, "ref": "main"}},
    )  # fmt: skip
    token = await _token_of(first)
    wanted = [*canaries, token]
    seen = [await _finished(platform, first)]
    run = await platform.client.call("get_run", run_id=first)
    # Its traps are in the snapshot, and the second springs them once more.
    second = await _continued(platform, first, ["run", LOOK], ["run", BE_HOSTILE])
    wanted.append(await _token_of(second))
    seen.append(await _finished(platform, second))
    third = await _continued(platform, second, ["run", LOOK], ["say", "looked"])
    seen.append(await _finished(platform, third))
    looked = [text for _, text in seen if "looked" in text]
    assert len(looked) >= 2, "the workspace was looked through"
    seen.extend(
        [
            ("status", await kubectl("get", "runs,agentsessions", "-n", RUNS, "-o", "json")),
            ("events", await kubectl("get", "events", "-n", RUNS, "-o", "json")),
            ("operator", await _log("operator")),
            ("MCP server", await _log("mcp")),
            ("commits", await asyncio.to_thread(_commits, git_url, tmp_path / "clone")),
        ]
    )
    assert [(where, one) for where, text in seen for one in wanted if one in text] == []
    scanned = await kubectl(
        "exec", "-n", SYSTEM, "deploy/agentrun-mcp", "--", "python", "-c", SCAN, *wanted
    )
    count, *found = scanned.split()
    assert int(count) > 3, "the store and the snapshots were looked through"
    assert found == []
    assert run["status"] in ("completed", "failed"), run
    await delete("agentprofile", "hostile")


async def _token_of(run_id: str) -> str:
    """Read the gateway token of a run's first pod: its part that is like no other's."""
    pod = f"{run_id}-1"
    await there("pod", pod)
    await kubectl(
        "wait", "--for=condition=Ready", f"pod/{pod}", "-n", RUNS, f"--timeout={LATE_SECONDS:.0f}s"
    )
    return (await Place(RUNS, pod, RUNNER).run("cat", TOKEN_FILE)).rpartition(".")[2].strip()


async def _continued(platform: Installation, run_id: str, *steps: list[Any]) -> str:
    message = {"role": "user", "parts": [{"type": "text", "text": f"go on\n{json.dumps(steps)}"}]}
    answer = await platform.client.call("continue_run", run_id=run_id, input_message=message)
    return str(answer["run_id"])


async def _finished(platform: Installation, run_id: str) -> tuple[str, str]:
    """Wait for a run's end, and return all that its user and its pod's reader see."""
    run, events = await platform.client.finish(run_id)
    assert run["status"] == "completed", run
    shown = [json.dumps(run), *map(json.dumps, events)]
    for event in events:
        for field in event["data"].get("artifact_refs") or ():
            page = await platform.client.call(
                "get_event_artifact", run_id=run_id, seq=event["seq"], field_path=field,
                limit=256 * 1024,
            )  # fmt: skip
            shown.append(str(page["content"]))
    shown.append(await kubectl("logs", f"{run_id}-1", "-n", RUNS, "--all-containers"))
    return run_id, "\n".join(shown)


async def _log(component: str) -> str:
    selector = f"app.kubernetes.io/component={component}"
    return await kubectl("logs", "-n", SYSTEM, "-l", selector, "--tail=-1")


def _commits(url: str, folder: Path) -> str:
    """Return all that the git server has of the repository, as text."""
    clone = ["git", "clone", "--quiet", "--mirror", f"{url}/demo.git", str(folder)]
    subprocess.run(clone, check=True, capture_output=True)
    show = ["git", "-C", str(folder), "log", "-p", "--all", "--text"]
    shown = subprocess.run(show, check=True, capture_output=True).stdout
    assert re.search(rb"^commit ", shown, re.MULTILINE)
    return shown.decode(errors="replace")
