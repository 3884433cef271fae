"""Tokens: made in time, renewed in time, and what is said when that is not allowed."""

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from agentrun.cli.connection.kube import UserCluster
from agentrun.cli.connection.tokens import RequestedToken
from agentrun.cli.problems import CliError
from tests.unit.cli.fake_cluster import FakeCluster


@dataclass
class Clock:
    now: float = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
async def kube(cluster: FakeCluster) -> AsyncIterator[UserCluster]:
    made = await UserCluster.connect(str(cluster.kubeconfig), "")
    yield made
    await made.close()


async def test_a_token_is_used_for_most_of_its_life_and_then_renewed(kube: UserCluster) -> None:
    clock = Clock()
    tokens = RequestedToken(kube, "team-a", seconds=1000, renew_after=0.7, clock=clock)
    assert await tokens.get() == "team-a-1"
    clock.now += 699
    assert await tokens.get() == "team-a-1"
    clock.now += 2
    assert await tokens.get() == "team-a-2"


async def test_an_old_token_is_used_while_no_new_one_can_be_created(
    kube: UserCluster, cluster: FakeCluster
) -> None:
    clock = Clock()
    tokens = RequestedToken(kube, "team-a", seconds=1000, renew_after=0.5, clock=clock)
    await tokens.get()
    await kube.close()
    away = await UserCluster.connect(str(FakeCluster(cluster.folder, port=1).kubeconfig), "")
    tokens._kube = away
    clock.now += 600
    assert await tokens.get() == "team-a-1"
    clock.now += 500
    with pytest.raises(CliError, match="cannot be reached"):
        await tokens.get()
    await away.close()


async def test_a_refused_token_is_replaced_once_for_all_callers(kube: UserCluster) -> None:
    tokens = RequestedToken(kube, "team-a")
    first = await tokens.get()
    assert [await tokens.renew(first), await tokens.renew(first)] == ["team-a-2", "team-a-2"]


async def test_a_missing_right_is_reported_with_the_command_that_grants_it(
    kube: UserCluster, cluster: FakeCluster
) -> None:
    cluster.denied = {"/token"}
    with pytest.raises(CliError) as error:
        await RequestedToken(kube, "team-a").get()
    command = "kubectl create rolebinding agentrun-user-token -n team-a --role=agentrun-user-token"
    assert command in str(error.value)


async def test_an_unknown_account_is_reported_with_the_flags(kube: UserCluster) -> None:
    with pytest.raises(CliError, match=r"no ServiceAccount other in namespace team-a.*--namespace"):
        await RequestedToken(kube, "team-a", "other").get()
