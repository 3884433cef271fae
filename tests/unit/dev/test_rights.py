"""Reading what the chart's roles grant, and the audit log they are compared with."""

import json
from pathlib import Path
from typing import Any

import pytest

from dev import paths, rights
from dev.rights import Right
from tests.rights import audit


def test_the_table_in_the_documentation_is_the_charts() -> None:
    found = (paths.CHECKOUT / "docs" / "security.md").read_text(encoding="utf-8")
    table = found.partition(rights.BEGIN)[2].partition(rights.END)[0].strip()
    wanted = rights.table(rights.granted(rights.rendered()))
    assert table == wanted, "docs/security.md is out of date: run `make generate`"


def test_each_verb_of_a_rule_is_a_right_of_its_own() -> None:
    role = {
        "kind": "Role",
        "metadata": {"labels": {"app.kubernetes.io/component": "mcp"}},
        "rules": [{"apiGroups": [""], "resources": ["pods", "pods/log"], "verbs": ["get", "list"]}],
    }
    assert len(rights.granted([role])) == 4
    assert Right("mcp", "", "pods/log", "list") in rights.granted([role])


def event(user: str, **more: Any) -> str:
    ref = {"resource": "pods", "namespace": "agents", "name": "x"}
    plain = {
        "user": {"username": user},
        "verb": "get",
        "requestURI": "/api/v1/namespaces/agents/pods/x",
        "objectRef": ref,
        "responseStatus": {"code": 200},
    }
    return json.dumps(plain | more)


def read(folder: Path, *lines: str) -> list[audit.Request]:
    (folder / "audit.log").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return audit.read(folder)


@pytest.mark.parametrize(
    ("account", "component"),
    [
        ("agentrun-operator", "operator"),
        ("other-agentrun-mcp", "mcp"),
        ("agentrun-2-profiles", "profiles"),
        ("agentrun-client", "runs"),
        ("default", ""),
        ("prometheus-operator", ""),
    ],
)
def test_an_account_belongs_to_the_component_that_the_chart_named_it_for(
    tmp_path: Path, account: str, component: str
) -> None:
    (request,) = read(tmp_path, event(f"system:serviceaccount:somewhere:{account}"))
    assert request.component == component


def test_a_request_needs_the_right_to_what_it_names(tmp_path: Path) -> None:
    ref = {"resource": "agentruns", "subresource": "status", "apiGroup": "agentrun.dev"}
    lines = [
        event("system:serviceaccount:s:agentrun-mcp"),
        event("system:serviceaccount:s:agentrun-mcp", verb="patch", objectRef=ref),
        event("system:serviceaccount:s:agentrun-mcp", objectRef=None, requestURI="/version"),
    ]
    assert [request.right for request in read(tmp_path, *lines)] == [
        Right("mcp", "", "pods", "get"),
        Right("mcp", "agentrun.dev", "agentruns/status", "patch", "cluster"),
        None,
    ]


def test_users_and_impersonated_users_are_not_accounts(tmp_path: Path) -> None:
    spoken_for = {"impersonatedUser": {"username": "system:serviceaccount:s:agentrun-mcp"}}
    assert read(tmp_path, event("admin"), event("system:serviceaccount:s:x", **spoken_for)) == []


def test_a_quota_is_not_a_denial(tmp_path: Path) -> None:
    user = "system:serviceaccount:s:agentrun-operator"
    lines = [
        event(user, responseStatus={"code": 403}),
        event(
            user,
            responseStatus={"code": 403},
            annotations={"authorization.k8s.io/decision": "forbid"},
        ),
    ]
    assert [request.forbidden for request in read(tmp_path, *lines)] == [False, True]


def test_rotated_logs_are_read_too(tmp_path: Path) -> None:
    old = tmp_path / "audit-2026-01-01T00-00-00.000.log"
    old.write_text(event("system:serviceaccount:s:agentrun-mcp") + "\n", encoding="utf-8")
    assert len(read(tmp_path, event("system:serviceaccount:s:agentrun-mcp"))) == 2


def test_a_missing_log_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="no audit log"):
        audit.read(tmp_path)
