"""What platform teams put into profiles: trust, proxies, caches, MCP servers, pull secrets."""

import asyncio
import json
import re
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from typing import Any

import pytest

from dev import cluster as dev_cluster
from dev import fixtures, product, registry, team
from tests.e2e import remotes
from tests.e2e.agents import script, trivial
from tests.e2e.checks import check_journal
from tests.e2e.cluster import RUNS, get, kubectl
from tests.e2e.conftest import DEV_IMAGE, profile
from tests.e2e.failing import check_failure
from tests.e2e.platform import Platform
from tests.e2e.teams import CLAIM, Json, Team, made, secret, surroundings

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

CA = {"name": "team-ca", "key": "ca.pem"}
ACCESS = {
    "credentialsSecret": "team-password",
    "hosts": [f"{host}:{team.HTTPS}" for host in (team.HOST, team.HIDDEN)],
}
STOCK = {"name": "stock", "url": f"http://{team.HOST}:{team.MCP}/mcp"}
STOCK_HEADER = {"name": "Authorization", "secret": {"name": "team-mcp", "key": "authorization"}}

# Python, git and Node.js each look for authorities and proxies in a way of their own.
REACH = (
    "python3 -c 'import urllib.request as u, sys; u.urlopen(sys.argv[1])' "
    "{url}/info/refs?service=git-upload-pack && echo python reached it; "
    "git ls-remote -q {url} >/dev/null && echo git reached it"
)


@pytest.fixture(scope="module")
def around(platform: Platform, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    with surroundings(platform.cluster, tmp_path_factory.mktemp("keys")) as there:
        yield there


def offered(around: Team, name: str, **spec: Any) -> AbstractContextManager[None]:
    """Offer a profile of the trivial agent for one test."""
    return made(around.env, profile(name, **spec))


async def finish(platform: Platform, run_id: str) -> tuple[Json, str]:
    """Wait for a run to complete, and return it with all that its events say."""
    run, events = await platform.door.finish(run_id)
    said = json.dumps(events)
    assert run["status"] == "completed", (run, said)
    check_journal(events, "completed")
    return run, said


async def test_an_authority_of_the_team_is_trusted_by_git_and_by_the_agent(
    platform: Platform, around: Team
) -> None:
    server = f"https://{team.HOST}:{team.HTTPS}"
    look = REACH.format(url=f"{server}/demo.git")
    with offered(around, "team-trust", git=ACCESS, network={"caBundle": CA}):
        run_id = await platform.trivial(
            ["run", f"{look}; echo $(grep -c BEGIN $SSL_CERT_FILE) roots; echo x > x.txt"],
            profile="team-trust",
            workspace={"git": {"url": f"{server}/private/demo.git"}},
        )
        run, said = await finish(platform, run_id)
    assert "python reached it" in said, said
    assert "git reached it" in said, said
    # Those of the image are trusted as before.
    counted = re.search(r"\\n(\d+) roots", said)
    assert counted is not None, said
    assert int(counted[1]) > 100
    assert run["result"]["pushed"] is True


@pytest.mark.parametrize(
    "proxy",
    [
        pytest.param(
            dict.fromkeys(("http", "https"), f"http://{team.HOST}:{team.PROXY}"),
            id="open",
        ),
        pytest.param({"urlSecret": {"name": "team-proxy", "key": "url"}}, id="with-a-password"),
    ],
)
async def test_what_lies_behind_the_proxy_is_reached_through_it(
    platform: Platform, around: Team, proxy: Json
) -> None:
    # Only the proxy knows where this name leads.
    server = f"https://{team.HIDDEN}:{team.HTTPS}"
    network = {"caBundle": CA, "proxy": proxy}
    before = around.logs("proxy").count(f"CONNECT {team.HIDDEN}:{team.HTTPS}")
    # Each has a name of its own: the operator may still see the one that was deleted before.
    name = f"team-{'-'.join(proxy).lower()}-proxied"
    with offered(around, name, git=ACCESS, network=network):
        run_id = await platform.trivial(
            ["run", f"{REACH.format(url=f'{server}/demo.git')}; echo $HTTPS_PROXY; echo x > x.txt"],
            profile=name,
            workspace={"git": {"url": f"{server}/private/demo.git"}},
        )
        run, said = await finish(platform, run_id)
    assert "python reached it" in said, said
    assert "git reached it" in said, said
    assert run["result"]["pushed"] is True
    log = around.logs("proxy")
    # The runner's fetch and push, and the agent's two.
    assert log.count(f"CONNECT {team.HIDDEN}:{team.HTTPS}") >= before + 4
    assert "agentrun-mcp" not in log
    if "urlSecret" in proxy:
        assert team.PROXY_ENCODED not in said
        assert "[redacted]" in said


async def test_remote_agents_are_reached_through_the_proxy_and_the_teams_authority(
    platform: Platform, around: Team
) -> None:
    network = {"caBundle": CA, "proxy": {"urlSecret": {"name": "team-proxy", "key": "url"}}}
    # Names in .svc need no proxy, and this is none; the other is known to the proxy only.
    near = {"agent_url": "http://a2a.agentrun-dev:8080/streaming"}
    hidden = {"agent_url": f"https://{team.HIDDEN}:{team.HTTPS}"}
    with made(around.env, remotes.profile("team-remote", network=network)):
        first, second = [
            await remotes.spawn(platform, config, ["say", "hello"], profile="team-remote")
            for config in (near, hidden)
        ]
        await finish(platform, first)
        run, _ = await platform.door.finish(second)
    # No agent is there, but a server that has shown a certificate of the team's authority.
    card = f"https://{team.HIDDEN}:{team.HTTPS}/.well-known/agent-card.json"
    assert f"{card} answered 404" in run["message"], run
    log = around.logs("proxy")
    assert "a2a.agentrun-dev:8080" in log
    assert f"CONNECT {team.HIDDEN}:{team.HTTPS}" in log


async def test_a_second_run_finds_what_the_first_has_put_into_the_cache(
    platform: Platform, around: Team
) -> None:
    caches = [
        {"claim": CLAIM, "mountPath": "/caches/pip", "subPath": "python/pip"},
        {"claim": CLAIM, "mountPath": "/caches/all", "readOnly": True},
    ]
    env = [{"name": "PIP_CACHE_DIR", "value": "/caches/pip"}]
    fill = "echo wheel > $PIP_CACHE_DIR/wheel; touch /caches/all/x || echo cannot be written"
    with offered(around, "team-cached", caches=caches, env=env):
        first = await platform.trivial(["run", fill], profile="team-cached")
        assert "cannot be written" in (await finish(platform, first))[1]
        pod = await get("pod", f"{first}-1")
        second = await platform.trivial(
            ["run", "cat $PIP_CACHE_DIR/wheel /caches/all/python/pip/wheel"], profile="team-cached"
        )
        assert "wheel\\nwheel" in (await finish(platform, second))[1]
    assert pod is not None
    mounted = {
        one["name"]: [mount["mountPath"] for mount in one["volumeMounts"]]
        for one in pod["spec"]["containers"]
    }
    assert not [path for path in mounted["runner"] if path.startswith("/caches")]


async def test_an_agent_is_given_its_profiles_mcp_servers_and_files(
    platform: Platform, around: Team
) -> None:
    servers = [
        {**STOCK, "headers": [STOCK_HEADER, {"name": "X-Team", "value": "a"}]},
        {
            "name": "local",
            "command": "serve",
            "args": ["--quietly"],
            "env": [{"name": "SIGN", "secret": {"name": "team-mcp", "key": "sign"}}],
        },
    ]
    files = [
        {"path": "notes/rules.md", "configMap": {"name": "team-rules", "key": "rules.md"}},
        {"path": "notes/more.md", "text": "Be brief."},
    ]
    env = [{"name": "ACP_AGENT_MCP", "value": "http"}]
    with offered(around, "team-mcp", mcpServers=servers, instructionFiles=files, env=env):
        run_id = await platform.trivial(
            ["servers"], ["run", "cat ~/notes/*; ls -la /var/run /var/run/secrets 2>&1"],
            profile="team-mcp",
        )  # fmt: skip
        run, said = await finish(platform, run_id)
    given = json.loads(run["result"]["summary"])
    assert [server["name"] for server in given] == ["stock", "local", "agentrun"]
    assert (given[0]["type"], given[0]["url"]) == ("http", STOCK["url"])
    # The agent was given them, but nobody who reads its events is.
    assert given[0]["headers"] == [
        {"name": "Authorization", "value": "[redacted]"},
        {"name": "X-Team", "value": "a"},
    ]
    assert given[1]["env"] == [{"name": "SIGN", "value": "[redacted]"}]
    assert team.MCP_TOKEN not in said
    assert "Be brief.Count in sevens." in said, said
    assert "agentrun-mcp" not in said.replace("team-mcp", "")


@pytest.mark.parametrize(
    ("backend", "instructions"),
    [("codex", ".codex/AGENTS.md"), ("claude_code", ".claude/CLAUDE.md")],
)
async def test_real_agents_work_with_all_of_it(
    platform: Platform, around: Team, backend: str, instructions: str
) -> None:
    default = await get("aprofile", backend.replace("_", "-"))
    assert default is not None
    proxy = f"http://{team.HOST}:{team.PROXY}"
    name = f"team-{backend.replace('_', '-')}"
    more = {
        "network": {"caBundle": CA, "proxy": {"http": proxy, "https": proxy}},
        "instructionFiles": [
            {"text": "Count in sevens."},
            {"path": "mcp/server.py", "configMap": {"name": "team-mcp", "key": "server.py"}},
        ],
        "mcpServers": [
            {**STOCK, "headers": [STOCK_HEADER]},
            {
                "name": "local",
                "command": "python3",
                "args": ["/home/agent/mcp/server.py"],
                "env": [{"name": "MCP_SIGN", "secret": {"name": "team-mcp", "key": "sign"}}],
            },
        ],
    }
    called = around.logs("mcp").count("tools/call")
    steps = script(
        {"tool": "stock/stock_of", "arguments": {"article": "nut"}},
        {"tool": "local/stock_of", "arguments": {"article": "bolt"}},
        {"shell": f"cat ~/{instructions}; echo x > x.txt"},
        {"say": "done"},
    )
    with made(around.env, {**profile(name), "spec": default["spec"] | more}):
        spawned = await platform.door.call(
            "spawn_run",
            backend=backend,
            role="worker",
            profile=name,
            prompt=steps,
            workspace={"git": {"url": platform.repository}},
        )
        _, said = await finish(platform, spawned["run_id"])
    assert "21 pieces of nut, says the server" in said, said
    # What signs is a Secret's value: it has arrived, and is told to nobody.
    assert "28 pieces of bolt, says [redacted]" in said, said
    assert "Count in sevens." in said, said
    assert around.logs("mcp").count("tools/call") == called + 1
    seen = await get("run", spawned["run_id"])
    # The files are the agent's, and no part of its change.
    assert seen is not None
    assert seen["status"]["result"]["filesChanged"] == 1
    assert "model" not in around.logs("proxy")


def attempt(key: str, **spec: Any) -> list[Json]:
    """A profile, and a run of it that cannot go well."""
    run = {
        "apiVersion": "agentrun.dev/v1alpha1",
        "kind": "AgentRun",
        "metadata": {"name": f"team-{key}", "namespace": RUNS},
        "spec": {"backend": "acp", "profile": f"team-{key}", "prompt": trivial(["say", "x"])},
    }
    return [profile(f"team-{key}", **spec), run]


def over_https(**spec: Any) -> Json:
    url = f"https://{team.HOST}:{team.HTTPS}/private/demo.git"
    network = {"caBundle": CA}
    hosts = [f"{team.HOST}:{team.HTTPS}"]
    git = {"credentialsSecret": "team-password", "hosts": hosts}
    return {"workspace": {"git": {"url": url}}, "network": network, "git": git, **spec}


def over_ssh(secret_name: str) -> Json:
    url = f"ssh://{team.SSH_USER}@{team.HOST}:{team.SSH}/srv/git/private/demo.git"
    return {"workspace": {"git": {"url": url}}, "git": {"credentialsSecret": secret_name}}


ATTEMPTS: dict[str, Json] = {
    "git-password-missing": over_https(git={}),
    "git-password-refused": over_https(
        git={"credentialsSecret": "team-wrong", "hosts": [f"{team.HOST}:{team.HTTPS}"]}
    ),
    "git-authority-unknown": over_https(network={}),
    "git-key-refused": over_ssh("team-ssh-stranger"),
    "git-key-locked": over_ssh("team-ssh-locked"),
    "git-host-unknown": over_ssh("team-ssh-unknown"),
    "git-host-changed": over_ssh("team-ssh-changed"),
    "ca-bundle-empty": {"network": {"caBundle": {"name": "team-ca", "key": "empty"}}},
    "ca-bundle-missing": {"network": {"caBundle": {"name": "no-such-map", "key": "k"}}},
    "mcp-transport": {"mcpServers": [STOCK]},
}


@pytest.fixture(scope="module")
def attempted(around: Team) -> Iterator[None]:
    """All of them at once, which takes hardly longer than one."""
    objects = [one for key, spec in ATTEMPTS.items() for one in attempt(key, **spec)]
    with made(around.env, *objects):
        yield


@pytest.mark.parametrize(
    "key",
    [
        pytest.param("git-password-missing", marks=pytest.mark.failure("git-password-missing")),
        pytest.param("git-password-refused", marks=pytest.mark.failure("git-password-refused")),
        pytest.param("git-authority-unknown", marks=pytest.mark.failure("git-authority-unknown")),
        pytest.param("git-key-refused", marks=pytest.mark.failure("git-key-refused")),
        pytest.param("git-key-locked", marks=pytest.mark.failure("git-key-locked")),
        pytest.param("git-host-unknown", marks=pytest.mark.failure("git-host-unknown")),
        pytest.param("git-host-changed", marks=pytest.mark.failure("git-host-changed")),
        pytest.param("ca-bundle-empty", marks=pytest.mark.failure("ca-bundle-empty")),
        pytest.param("ca-bundle-missing", marks=pytest.mark.failure("ca-bundle-missing")),
        pytest.param("mcp-transport", marks=pytest.mark.failure("mcp-transport")),
    ],
)
async def test_what_a_profile_names_wrongly_is_named_to_its_users(
    platform: Platform, attempted: None, key: str
) -> None:
    run = await check_failure(platform.door, f"team-{key}", key)
    assert product.GIT_PASSWORD not in json.dumps(run)


@pytest.mark.failure("git-host-not-named")
async def test_a_run_cannot_have_the_profiles_password_sent_to_a_server_of_its_choice(
    platform: Platform, around: Team
) -> None:
    elsewhere = {"credentialsSecret": "team-password", "hosts": ["git.example.com"]}
    with offered(around, "team-elsewhere", git=elsewhere):
        run_id = await platform.trivial(
            ["say", "x"],
            profile="team-elsewhere",
            workspace={"git": {"url": f"http://{team.HOST}:{team.HTTP}/private/demo.git"}},
        )
        await check_failure(platform.door, run_id, "git-host-not-named")


@pytest.mark.parametrize(
    ("secret_name", "user"),
    [
        pytest.param("team-ssh", 1000, id="ed25519"),
        # A uid that has no account anywhere; ssh alone would refuse it.
        pytest.param("team-ssh-rsa", 4242, id="rsa-and-a-uid-without-an-account"),
    ],
)
async def test_ssh_clones_and_pushes_and_the_agent_sees_no_key(
    platform: Platform, around: Team, secret_name: str, user: int
) -> None:
    look = (
        "env; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; cat .git/config; id -u;"
        " find / -xdev -name '*ssh-*' -o -name known_hosts 2>/dev/null; ls /var/run/secrets;"
        " echo from-ssh > ssh.txt"
    )
    # The profile is named like its Secret, so that each has a name of its own.
    with offered(around, secret_name, **over_ssh(secret_name), pod={"runAsUser": user}):
        run_id = await platform.trivial(["run", look], profile=secret_name)
        run, said = await finish(platform, run_id)
    assert run["result"]["pushed"] is True, run
    assert f"\\n{user}\\n" in said
    assert "BEGIN" not in said
    assert "ssh-privatekey" not in said
    # The command itself names it without a folder.
    assert "/known_hosts" not in said
    # What was pushed over ssh is there for who comes another way.
    with product.service_url(platform.cluster, fixtures.NAMESPACE, team.NAME, team.HTTP) as url:
        whole = f"{url.replace('://', f'://{product.GIT_USER}:{product.GIT_PASSWORD}@')}/private"
        listed = await asyncio.create_subprocess_exec(
            "git", "ls-remote", f"{whole}/demo.git", stdout=asyncio.subprocess.PIPE
        )
        heads = (await listed.communicate())[0].decode()
    assert f"{run['commit']}\trefs/heads/{run['branch']}" in heads


@pytest.fixture(scope="module")
def private_image(around: Team, platform: Platform) -> Iterator[str]:
    """The image of the trivial agent, where one has to say who one is."""
    found = dev_cluster.find(platform.cluster)
    assert found is not None, "needs the native cluster"
    with made(around.env, *registry.objects()):
        ready = ("--for=condition=Ready", f"pod/{registry.NAME}", "--timeout=60s")
        product.kube(around.env, "wait", "-n", fixtures.NAMESPACE, *ready)
        with product.service_url(
            platform.cluster, fixtures.NAMESPACE, registry.NAME, registry.PORT
        ) as url:
            registry.introduce(found, url)
            # Of its own each time, so that the node cannot have it from an earlier one.
            tag = str(time.time_ns())
            registry.push(DEV_IMAGE, url, "team/agent", tag)
            yield f"{registry.HOST}/team/agent:{tag}"


@pytest.mark.failure("image-refused", "pull-secret-missing")
async def test_a_private_image_is_pulled_with_the_profiles_secret_and_not_without(
    platform: Platform, around: Team, private_image: str
) -> None:
    config = team.docker_config(registry.HOST, registry.USER, registry.PASSWORD)
    pull = secret("team-pull", "kubernetes.io/dockerconfigjson", **{".dockerconfigjson": config})
    image = {"image": private_image, "imagePullPolicy": "Always"}
    with (
        made(around.env, pull),
        offered(around, "team-refused", **image),
        offered(around, "team-unready", **image, imagePullSecrets=["no-such-secret"]),
        offered(around, "team-pulled", **image, imagePullSecrets=["team-pull"]),
    ):
        without = await platform.trivial(["say", "x"], profile="team-refused")
        unready = await platform.trivial(["say", "x"], profile="team-unready")
        pulled = await platform.trivial(["say", "pulled"], profile="team-pulled")
        run, _ = await finish(platform, pulled)
        assert run["result"]["summary"] == "pulled"
        story = await kubectl("get", "events", "-n", RUNS, "-o", "json", "--field-selector",
                              f"involvedObject.name={pulled}-1,reason=Pulled")  # fmt: skip
        assert f'Successfully pulled image \\"{private_image}\\"' in story
        await check_failure(platform.door, without, "image-refused")
        await check_failure(platform.door, unready, "pull-secret-missing")
