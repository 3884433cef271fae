"""What a platform team sees of the installed chart, and who is let in."""

from collections.abc import Iterator

import httpx2
import pytest

from dev import product
from tests.e2e.cluster import RUNS, SYSTEM, Json, api, called, get, items, kubectl
from tests.e2e.installation import Installation

pytestmark = pytest.mark.e2e


WISHES: tuple[Json, ...] = (
    {"verb": "get", "resource": "secrets"},
    {"verb": "create", "resource": "pods", "subresource": "exec"},
    {"verb": "patch", "group": "rbac.authorization.k8s.io", "resource": "roles"},
)


async def test_helm_test_succeeds(platform: Installation) -> None:
    done = await platform.helm("test")
    assert "Phase:          Succeeded" in done.stdout, done.stdout + done.stderr


async def test_the_notes_name_the_next_step(platform: Installation) -> None:
    done = await called("helm", "get", "notes", "agentrun", "-n", SYSTEM)
    notes = done.stdout
    assert "kubectl create token agentrun-client -n agents --audience agentrun" in notes
    assert "claude mcp add --transport http agentrun" in notes
    assert "claude mcp add agentrun -- agentrun mcp" in notes


async def test_the_namespace_of_runs_enforces_the_restricted_standard(
    platform: Installation,
) -> None:
    namespace = await get("namespace", RUNS, "")
    assert namespace is not None
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@pytest.mark.parametrize("profile", ["codex", "claude-code"])
async def test_each_installed_backend_has_a_default_profile(
    platform: Installation, profile: str
) -> None:
    assert await get("aprofile", profile)


@pytest.fixture(scope="module")
def gateway(platform: Installation) -> Iterator[str]:
    """The gateway of the runners, by a port-forward: over the network only runs reach it."""
    with product.forwarded_url(platform.cluster, SYSTEM, "service/agentrun-mcp", 8081) as url:
        yield url


@pytest.mark.parametrize("path", ["/mcp", "/v1/head"])
@pytest.mark.parametrize(
    "audience",
    [
        pytest.param(None, id="no-token"),
        pytest.param("https://kubernetes.default.svc", id="token-for-the-api-server"),
        pytest.param("agentrun-gateway", id="token-for-runners-bound-to-no-pod"),
    ],
)
async def test_requests_without_the_right_token_are_rejected(
    platform: Installation, gateway: str, path: str, audience: str | None
) -> None:
    headers = {}
    if audience:
        token = await kubectl(
            "create", "token", "agentrun-client", "-n", RUNS, "--audience", audience
        )
        headers["Authorization"] = f"Bearer {token.strip()}"
    url = platform.url if path == "/mcp" else gateway
    async with httpx2.AsyncClient(timeout=10) as http:
        answer = await http.get(f"{url}{path}", headers=headers)
    assert answer.status_code == 401


async def test_a_users_token_is_rejected_by_the_gateway(
    platform: Installation, gateway: str
) -> None:
    headers = {"Authorization": f"Bearer {platform.client.token}"}
    async with httpx2.AsyncClient(timeout=10) as http:
        answer = await http.post(f"{gateway}/v1/events", headers=headers, json={"events": []})
    assert answer.status_code == 401


async def test_no_component_has_more_rights_than_it_needs(platform: Installation) -> None:
    accounts = await items("serviceaccounts", namespace=SYSTEM)
    names = [account["metadata"]["name"] for account in accounts]
    assert {"agentrun-operator", "agentrun-mcp"} <= set(names)
    for name in names:
        for wish in WISHES:
            assert not await may(name, wish), (name, wish)
    # The question is put as it should be: to this the answer is yes.
    assert await may("agentrun-operator", {"verb": "create", "resource": "pods"})


async def may(account: str, wish: Json) -> bool:
    """Ask whether an account of the product may do something where runs are."""
    review = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": f"system:serviceaccount:{SYSTEM}:{account}",
            "groups": [
                "system:serviceaccounts", f"system:serviceaccounts:{SYSTEM}",
                "system:authenticated",
            ],
            "resourceAttributes": {"namespace": RUNS, **wish},
        },
    }  # fmt: skip
    return bool((await api().create(review))["status"]["allowed"])
