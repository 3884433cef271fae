"""Finding AgentRun, and saying what to do when that fails."""

from dataclasses import replace
from pathlib import Path

import pytest

from agentrun.cli.connection import server_endpoint
from agentrun.cli.connection.discovery import Service, find_service, read_service
from agentrun.cli.connection.kube import UserCluster, log_in
from agentrun.cli.connection.pods import port_of, ready_pods
from agentrun.cli.problems import CliError
from tests.unit.cli.fake_cluster import SERVICES, FakeCluster, pod, service


class Person:
    """Somebody who is asked, and answers always the same."""

    def __init__(self, answer: bool | None) -> None:
        self.answer = answer
        self.asked: list[str] = []

    async def __call__(self, question: str) -> bool | None:
        self.asked.append(question)
        return self.answer


async def found(cluster: FakeCluster, person: Person | None = None, **options: str) -> Service:
    kube = await UserCluster.connect(str(cluster.kubeconfig), "")
    try:
        return await find_service(kube, cluster.options(**options), person or Person(None))
    finally:
        await kube.close()


async def problem(cluster: FakeCluster, person: Person | None = None, **options: str) -> str:
    with pytest.raises(CliError) as error:
        await found(cluster, person, **options)
    return str(error.value)


async def test_the_only_service_is_found_in_any_namespace_if_the_user_agrees(
    cluster: FakeCluster,
) -> None:
    cluster.have(SERVICES, service("far-away", "our-agentrun-mcp"))
    person = Person(True)
    one = await found(cluster, person)
    [question] = person.asked
    assert "far-away/our-agentrun-mcp" in question
    assert "team-a, team-b" in question
    assert (one.namespace, one.name) == ("far-away", "our-agentrun-mcp")
    assert one.run_namespaces == ("team-a", "team-b")
    assert one.role == "our-agentrun-user"


@pytest.mark.parametrize("answer", [None, False], ids=["nobody-is-there", "no"])
async def test_nothing_is_sent_to_a_namespace_that_was_not_named(
    cluster: FakeCluster, answer: bool | None
) -> None:
    cluster.have(SERVICES, service("mallory"))
    text = await problem(cluster, Person(answer))
    assert "--system-namespace mallory" in text
    with pytest.raises(CliError):
        async with server_endpoint(cluster.options(), Person(answer)) as fake:
            await fake.http.get(fake.url)
    assert (cluster.tokens_made, cluster.forwards) == (0, [])
    assert (await found(cluster, system_namespace="mallory")).namespace == "mallory"


@pytest.mark.parametrize("denied", [set(), {"/api/v1/services"}])
async def test_services_labelled_by_others_are_ignored(
    cluster: FakeCluster, denied: set[str]
) -> None:
    cluster.denied = denied
    foreign = [service("mallory"), service("eve", "agentrun-mcp"), service("zoe", "x")]
    cluster.have(SERVICES, *foreign, service(), service("another"))
    person = Person(True)
    assert (await found(cluster, person)).namespace == "agentrun-system"
    assert (await found(cluster, person, service="agentrun-mcp")).namespace == "agentrun-system"
    assert person.asked == []


async def test_a_user_who_may_only_read_the_default_service_finds_it(cluster: FakeCluster) -> None:
    cluster.cannot_list = True
    cluster.have(SERVICES, service("mallory"), service())
    assert (await found(cluster)).namespace == "agentrun-system"


async def test_no_service_is_an_error_that_names_the_searched_namespaces(
    cluster: FakeCluster,
) -> None:
    cluster.have(SERVICES)
    text = await problem(cluster)
    assert f"all namespaces of http://127.0.0.1:{cluster.port} (the current context)" in text
    assert "--system-namespace" in text
    assert "namespace elsewhere of" in await problem(cluster, system_namespace="elsewhere")


async def test_several_services_are_named_and_one_can_be_selected(cluster: FakeCluster) -> None:
    cluster.have(SERVICES, service("blue"), service("green"))
    text = await problem(cluster)
    assert "blue/agentrun-mcp, green/agentrun-mcp" in text
    assert "--system-namespace" in text
    assert (await found(cluster, system_namespace="green")).namespace == "green"
    assert (
        await found(cluster, system_namespace="blue", service="agentrun-mcp")
    ).namespace == "blue"


async def test_a_user_who_may_not_list_services_uses_the_default_service(
    cluster: FakeCluster,
) -> None:
    cluster.denied = {"/api/v1/services"}
    assert (await found(cluster)).namespace == "agentrun-system"
    cluster.have(SERVICES)
    assert "there is no Service agentrun-system/agentrun-mcp" in await problem(cluster)


async def test_a_user_without_access_to_services_is_given_the_role_to_ask_for(
    cluster: FakeCluster,
) -> None:
    cluster.denied = {"services"}
    text = await problem(cluster)
    assert "Role agentrun-user of its chart in agentrun-system" in text


async def test_an_unavailable_api_server_is_named(tmp_path: Path) -> None:
    away = FakeCluster(tmp_path, port=1)
    text = await problem(away)
    assert "the API server http://127.0.0.1:1 (the current context) cannot be reached" in text


async def test_credentials_that_are_refused_are_named(cluster: FakeCluster) -> None:
    kubeconfig = cluster.kubeconfig
    kubeconfig.write_text(kubeconfig.read_text().replace("mine", "old"))
    kube = await UserCluster.connect(str(kubeconfig), "")
    with pytest.raises(CliError, match="does not accept the kubeconfig's credentials"):
        await kube.get("/api/v1/services")
    await kube.close()


async def test_credentials_are_read_again_when_they_are_refused(cluster: FakeCluster) -> None:
    kubeconfig = cluster.kubeconfig
    text = kubeconfig.read_text()
    kubeconfig.write_text(text.replace("mine", "old"))
    kube = await UserCluster.connect(str(kubeconfig), "")
    kubeconfig.write_text(text)
    assert (await kube.get("/api/v1/services"))["items"]
    await kube.close()


async def test_no_kubeconfig_is_an_error_that_names_the_place(tmp_path: Path) -> None:
    with pytest.raises(CliError, match=r"no kubeconfig at .*/nothing: give --kubeconfig"):
        await log_in(str(tmp_path / "nothing"), "")


async def test_an_unknown_context_is_an_error_that_names_the_known(cluster: FakeCluster) -> None:
    with pytest.raises(CliError, match=r"context work is not in .*: give --context one of home"):
        await log_in(str(cluster.kubeconfig), "work")


async def test_no_current_context_is_an_error_that_names_the_known(cluster: FakeCluster) -> None:
    kubeconfig = cluster.kubeconfig
    kubeconfig.write_text(kubeconfig.read_text().replace("current-context", "x"))
    with pytest.raises(CliError, match="names no current context: give --context one of home"):
        await log_in(str(kubeconfig), "")


@pytest.mark.parametrize("content", ["clusters: [", "hello", "", "[]"])
async def test_a_broken_kubeconfig_is_one_clear_error(tmp_path: Path, content: str) -> None:
    file = tmp_path / "config"
    file.write_text(content)
    with pytest.raises(CliError, match="cannot be used"):
        await log_in(str(file), "")


async def test_an_invalid_url_is_refused(cluster: FakeCluster) -> None:
    with pytest.raises(CliError, match="--url must be"):
        async with server_endpoint(replace(cluster.options(), url="agentrun", token="t")):
            pass


def test_only_ready_pods_that_are_not_being_deleted_are_chosen() -> None:
    pods = [
        pod("ready"),
        pod("starting", []),
        pod("failing", [{"type": "Ready", "status": "False"}]),
        pod("ending", deletionTimestamp="2026-01-01T00:00:00Z"),
    ]
    assert [one.name for one in ready_pods(pods, "mcp")] == ["ready"]


@pytest.mark.parametrize(
    ("target", "port"), [("mcp", 8080), ("9090", 9090), ("unknown", 8080)], ids=str
)
def test_the_port_is_the_services_target(target: str, port: int) -> None:
    assert port_of(pod(), target) == port


def test_a_service_without_annotation_uses_the_default_run_namespace() -> None:
    manifest = service()
    del manifest["metadata"]["annotations"]
    assert read_service(manifest).run_namespaces == ("agents",)
