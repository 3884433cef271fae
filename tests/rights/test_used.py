"""The chart grants what was used and nothing else, and nothing else was asked for."""

import os
from pathlib import Path

import pytest

from dev import paths, product, rights
from dev.rights import COMPONENTS, Right
from tests.rights import audit
from tests.rights.exceptions import EXCEPTIONS

pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def requests() -> list[audit.Request]:
    own = str(paths.state(os.environ["AGENTRUN_CLUSTER"]) / "logs")
    folders = [own, *os.environ.get("AGENTRUN_AUDITED", "").split()]
    found = [request for folder in folders for request in audit.read(Path(folder))]
    assert any(one.component == "operator" for one in found), (
        "nothing was asked by the operator: these tests look back at what the end to end tests did,"
        " so run them after those: pytest tests/e2e tests/rights"
    )
    return found


@pytest.fixture(scope="module")
def granted() -> set[Right]:
    # What people may do is used by the tests of the bridge, with people's own names.
    return {one for one in rights.granted(rights.rendered()) if one.component != rights.PEOPLE}


@pytest.fixture(scope="module")
def used(requests: list[audit.Request]) -> set[Right]:
    return {
        one.right
        for one in requests
        if one.component and one.right is not None and not one.forbidden
    }


def test_nothing_was_denied(requests: list[audit.Request], granted: set[Right]) -> None:
    # While a release is installed or removed its roles may not be there; then it is asked again,
    # where the account has them: nowhere but in the namespaces of its runs.
    at_home = {(one.namespace, one.account, one.within) for one in requests if not one.forbidden}
    denied = {
        f"{one.namespace}/{one.account}: {one.verb} {one.uri}"
        for one in requests
        if one.component
        and one.forbidden
        and (one.right not in granted or (one.namespace, one.account, one.within) not in at_home)
    }
    assert not denied, f"asked for, but not granted by the chart: {sorted(denied)}"


def test_every_right_that_was_used_is_granted_by_the_chart(
    used: set[Right], granted: set[Right]
) -> None:
    beyond = [str(one) for one in sorted(used - granted)]
    assert not beyond, f"used, but not granted by the chart: {beyond}"


def test_every_right_that_is_granted_was_used(used: set[Right], granted: set[Right]) -> None:
    idle = [f"remove {one}" for one in sorted(granted - used - EXCEPTIONS.keys())]
    assert not idle, f"granted, but never used in the end to end tests: {idle}"


def test_the_exceptions_are_still_needed(used: set[Right], granted: set[Right]) -> None:
    assert [str(one) for one in EXCEPTIONS if one in used] == []
    assert [str(one) for one in EXCEPTIONS if one not in granted] == []


def test_only_token_reviews_are_granted_beyond_the_namespaces_of_runs(granted: set[Right]) -> None:
    beyond = {one for one in granted if one.scope == "cluster"}
    assert beyond == {Right("mcp", "authentication.k8s.io", "tokenreviews", "create", "cluster")}


def test_no_account_of_the_runs_asked_the_kubernetes_api_anything(
    requests: list[audit.Request],
) -> None:
    """Neither the pods of runs nor the tokens of users: the MCP server speaks for them."""
    asked = {
        f"{one.namespace}/{one.account}: {one.verb} {one.uri}"
        for one in requests
        if one.namespace == product.RUNS or one.component in ("runs", "test")
    }
    assert sorted(asked) == []


def test_every_component_of_the_chart_is_known(granted: set[Right]) -> None:
    assert {one.component for one in granted} <= COMPONENTS.keys()
