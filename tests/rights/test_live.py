"""What the API server itself says that the chart's accounts may do."""

import json
import os
from typing import Any

import pytest

from dev import product, rights
from dev.rights import Right
from dev.shell import run

pytestmark = pytest.mark.e2e

ACCOUNTS = {
    "operator": "system:serviceaccount:agentrun-system:agentrun-operator",
    "mcp": "system:serviceaccount:agentrun-system:agentrun-mcp",
    "profiles": "system:serviceaccount:agentrun-system:agentrun-profiles",
    "runs": "system:serviceaccount:agents:agentrun-client",
    "pod of a run": "system:serviceaccount:agents:default",
}
NOBODY = "system:serviceaccount:default:nobody-in-particular"


def rules_of(account: str, namespace: str) -> set[Right]:
    """Ask the API server what an account may do in a namespace."""
    review: dict[str, Any] = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectRulesReview",
        "spec": {"namespace": namespace},
    }
    groups = ("--as-group=system:authenticated", "--as-group=system:serviceaccounts")
    answer = run(
        [
            "kubectl",
            "create",
            "--validate=false",
            "-f",
            "-",
            "-o",
            "json",
            f"--as={account}",
            *groups,
        ],
        env=product.environment(os.environ["AGENTRUN_CLUSTER"]),
        stdin=json.dumps(review),
    )
    return {
        Right("", group, resource, verb)
        for rule in json.loads(answer)["status"]["resourceRules"]
        # Of what the chart grants to its accounts, only Namespaces are named.
        if not rule.get("resourceNames") or namespace in rule["resourceNames"]
        for group in rule["apiGroups"]
        for resource in rule["resources"]
        for verb in rule["verbs"]
    }


def beyond_everybody(account: str, namespace: str) -> set[tuple[str, str, str]]:
    """Say what an account may do in a namespace that not every account may."""
    more = rules_of(account, namespace) - rules_of(NOBODY, namespace)
    return {(one.group, one.resource, one.verb) for one in more}


@pytest.mark.parametrize("component", ACCOUNTS)
@pytest.mark.parametrize("namespace", [product.RUNS, product.SYSTEM, "default", "kube-system"])
def test_an_account_has_the_rights_that_the_chart_lists_and_no_others(
    component: str, namespace: str
) -> None:
    # The account of the hook has its role only while the hook runs.
    granted = rights.granted(rights.rendered()) if component != "profiles" else set()
    expected = {
        (one.group, one.resource, one.verb)
        for one in granted
        if one.component == component and (one.scope == "cluster" or namespace == product.RUNS)
    }
    assert beyond_everybody(ACCOUNTS[component], namespace) == expected
