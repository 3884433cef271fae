"""
The main use case, from a bare machine to a cancelled run, performed as a user's MCP client.

The cluster, the chart and the agents are real. Only the model is scripted, unless a provider's
key is in the environment.
"""

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any

from dev import fixtures, images, product
from dev.mcp_client import McpClient
from dev.shell import attempt, run, say

PROMPTS = {
    "codex": "Add a greeting module with a function greet(name), and a test for it.",
    "claude_code": "Write a README that says what the project does and how to run its tests.",
}
LONG = "Start the development server in the background and keep watching its log."


def play(name: str) -> None:
    """Run the demo on the cluster ``name``, which must be running."""
    images.provide(name, *images.TARGETS)
    fixtures.apply(name)
    product.install(name)
    with (
        product.service_url(name, product.SYSTEM, product.MAIN.service, 8080) as url,
        product.service_url(name, "agentrun-dev", "git", 8080) as git,
    ):
        client = McpClient(f"{url}/mcp", product.token(name))
        asyncio.run(_told(name, client, git))
    _say_next(name)


async def _told(name: str, client: McpClient, git: str) -> None:
    try:
        await _story(name, client, git)
    finally:
        await client.close()


async def _story(name: str, client: McpClient, git: str) -> None:
    _title("Two agents work on the same repository")
    began = time.monotonic()
    runs = await asyncio.gather(
        *(_work(client, backend, prompt, began) for backend, prompt in PROMPTS.items())
    )
    for finished in runs:
        _title(f"What {finished['backend']} changed ({finished['branch']})")
        say(_diff(f"{git}/demo.git", finished["branch"]))
    _title("A run that is cancelled while its agent runs a tool")
    await _cancelled(name, client)
    _title("kubectl get runs")
    say(product.kube(product.environment(name), "get", "runs", "-n", product.RUNS))


async def _work(client: McpClient, backend: str, prompt: str, began: float) -> dict[str, Any]:
    spawned = await client.call(
        "spawn_run",
        backend=backend,
        role="worker",
        prompt=prompt,
        workspace={"git": {"url": f"{product.GIT}/demo.git", "ref": "main"}},
    )
    say(f"{backend:12} spawned {spawned['run_id']}: {prompt}")
    async for event in client.events(spawned["run_id"]):
        say(f"{time.monotonic() - began:6.1f} s  {backend:12} {_line(event)}")
    return await client.call("get_run", run_id=spawned["run_id"])


async def _cancelled(name: str, client: McpClient) -> None:
    spawned = await client.call("spawn_run", backend="codex", role="worker", prompt=LONG)
    run_id = spawned["run_id"]
    began = time.monotonic()
    async for event in client.events(run_id):
        say(f"{time.monotonic() - began:6.1f} s  {_line(event)}")
        if event["type"] == "command_started":
            break
    answer = await client.call("cancel_run", run_id=run_id, wait_ms=30_000, reason="demo")
    say(f"cancel_run answered: {answer['status']} at {answer['cancelled_at']}")
    env = product.environment(name)
    say(product.kube(env, "describe", "run", run_id, "-n", product.RUNS))
    pods = product.kube(env, "get", "pods", "-n", product.RUNS, "-l", f"agentrun.dev/run={run_id}")
    say(pods or f"No pod of {run_id} is left.")


def _line(event: dict[str, Any]) -> str:
    data = event["data"]
    words = data.get("text") or data.get("command") or data.get("status") or data.get("name") or ""
    text = " ".join(str(words).split())
    return f"#{event['seq']:<3} {event['type']:17} {text[:100]}"


def _diff(url: str, branch: str) -> str:
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder) / "clone"
        product.clone(url, clone)
        run(["git", "-C", clone, "fetch", "--quiet", "origin", branch])
        return attempt(["git", "-C", clone, "diff", "origin/main", "FETCH_HEAD"]).stdout


def _title(text: str) -> None:
    say(f"\n== {text}\n")


def _say_next(name: str) -> None:
    env = product.environment(name)
    real = product.real_providers()
    say(
        ""
        if real
        else "The model was scripted. Set OPENAI_API_KEY or ANTHROPIC_API_KEY for a real one."
    )
    say("Try next:\n")
    say(f"  export KUBECONFIG={env['KUBECONFIG']} PATH={env['PATH'].split(':')[0]}:$PATH")
    say("  kubectl port-forward -n agentrun-system service/agentrun-mcp 8080:8080 &")
    say(
        "  claude mcp add --transport http agentrun http://localhost:8080/mcp --header "
        '"Authorization: Bearer '
        '$(kubectl create token agentrun-client -n agents --audience agentrun)"'
    )
