"""What a platform team sees of the installed chart, and who is let in."""

import asyncio
import json
import subprocess

import httpx2
import pytest

from dev import product
from tests.e2e.cluster import RUNS, SYSTEM, get, items, kubectl
from tests.e2e.platform import Platform

pytestmark = pytest.mark.e2e


WISHES = (["get", "secrets"], ["create", "pods", "--subresource=exec"], ["patch", "roles"])


async def helm(*arguments: str) -> str:
    done = await asyncio.to_thread(
        subprocess.run, ["helm", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


async def test_helm_finds_the_release_well(platform: Platform) -> None:
    assert "Phase:          Succeeded" in await helm("test", "agentrun", "-n", SYSTEM)


async def test_the_notes_say_the_next_step(platform: Platform) -> None:
    notes = await helm("get", "notes", "agentrun", "-n", SYSTEM)
    assert "kubectl create token agentrun-client -n agents --audience agentrun" in notes
    assert "claude mcp add --transport http agentrun" in notes
    assert "claude mcp add agentrun -- agentrun mcp" in notes


async def test_the_namespace_of_runs_enforces_the_restricted_standard(platform: Platform) -> None:
    namespace = json.loads(await kubectl("get", "namespace", RUNS, "-o", "json"))
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("profile", ["codex", "claude-code"])
async def test_each_installed_backend_has_a_default_profile(
    platform: Platform, profile: str
) -> None:
    assert await get("aprofile", profile)


@pytest.mark.parametrize("port", [8080, 8081])
@pytest.mark.parametrize(
    "audience",
    [
        pytest.param(None, id="no-token"),
        pytest.param("https://kubernetes.default.svc", id="token-for-the-api-server"),
        pytest.param("agentrun-gateway", id="token-for-runners-bound-to-no-pod"),
    ],
)
async def test_nobody_gets_in_without_the_right_token(
    platform: Platform, port: int, audience: str | None
) -> None:
    headers = {}
    if audience:
        token = await kubectl(
            "create", "token", "agentrun-client", "-n", RUNS, "--audience", audience
        )
        headers["Authorization"] = f"Bearer {token.strip()}"
    path = "/mcp" if port == 8080 else "/v1/head"
    with product.service_url(platform.cluster, SYSTEM, "agentrun-mcp", port) as url:
        async with httpx2.AsyncClient(timeout=10) as http:
            answer = await http.get(f"{url}{path}", headers=headers)
    assert answer.status_code == 401


async def test_a_users_token_does_not_open_the_gateway(platform: Platform) -> None:
    headers = {"Authorization": f"Bearer {platform.door.token}"}
    with product.service_url(platform.cluster, SYSTEM, "agentrun-mcp", 8081) as url:
        async with httpx2.AsyncClient(timeout=10) as http:
            answer = await http.post(f"{url}/v1/events", headers=headers, json={"events": []})
    assert answer.status_code == 401


async def test_no_part_of_the_product_may_do_more_than_it_needs(platform: Platform) -> None:
    accounts = await items("serviceaccounts", namespace=SYSTEM)
    names = [account["metadata"]["name"] for account in accounts]
    assert {"agentrun-operator", "agentrun-mcp"} <= set(names)
    for name in names:
        user = f"system:serviceaccount:{SYSTEM}:{name}"
        for wish in WISHES:
            done = await asyncio.to_thread(
                subprocess.run,
                ["kubectl", "auth", "can-i", *wish, "--as", user, "-n", RUNS],
                capture_output=True,
                text=True,
                check=False,
            )
            assert done.stdout.strip() == "no", (name, wish)
