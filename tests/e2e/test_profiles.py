"""What platform teams put into profiles: trust, proxies, caches, MCP servers, pull secrets."""

import asyncio
import json
import re
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from secrets import token_hex
from typing import Any

import pytest
import pytest_asyncio

from dev import fixtures, images, product, registry, team
from dev.components import Cluster
from tests.e2e import remotes
from tests.e2e.agents import script, trivial
from tests.e2e.checks import check_journal
from tests.e2e.cluster import Json, called, get, held, items, pod_of
from tests.e2e.failing import check_failure
from tests.e2e.installation import REPOSITORY, Installation, a_run, profile
from tests.e2e.teams import CLAIM, Team, secret, serves, surroundings

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("profiles"), pytest.mark.timeout(300)]

CA = {"name": "team-ca", "key": "ca.pem"}
ACCESS = {
    "credentialsSecret": "team-password",
    "repositories": [f"https://{host}:{team.HTTPS}/private" for host in (team.HOST, team.HIDDEN)],
}
STOCK = {"name": "stock", "url": f"http://{team.HOST}:{team.MCP}/mcp"}
STOCK_HEADER = {"name": "Authorization", "secret": {"name": "team-mcp", "key": "authorization"}}

# Python, git and Node.js each look for authorities and proxies in a way of their own.
REACH = (
    "python3 -c 'import urllib.request as u, sys; u.urlopen(sys.argv[1])' "
    "{url}/info/refs?service=git-upload-pack && echo python reached it; "
    "git ls-remote -q {url} >/dev/null && echo git reached it"
)
SERVER = f"https://{team.HOST}:{team.HTTPS}"
# Only the proxy knows where this name leads.
HIDDEN_SERVER = f"https://{team.HIDDEN}:{team.HTTPS}"
PROXIES: dict[str, Json] = {
    "proxied": dict.fromkeys(("http", "https"), f"http://{team.HOST}:{team.PROXY}"),
    "proxied-with-a-password": {"urlSecret": {"name": "team-proxy", "key": "url"}},
}
SUFFIX = token_hex(4)


def named(key: str) -> str:
    """Name a profile or a run: the operator may still see one of an earlier test run."""
    return f"team-{key}-{SUFFIX}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def around(
    platform: Installation, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Team]:
    async with surroundings(tmp_path_factory.mktemp("keys")) as there:
        yield there


async def finish(platform: Installation, run_id: str) -> tuple[Json, str]:
    """Wait for a run to complete, and return it with all that its events say."""
    run, events = await platform.client.finish(run_id)
    said = json.dumps(events)
    assert run["status"] == "completed", (run, said)
    check_journal(events, "completed")
    return run, said


@dataclass(frozen=True)
class Use:
    """A profile of the trivial agent, and what a run of it does."""

    spec: Json
    steps: tuple[list[Any], ...]
    repository: str = ""

    async def spawn(self, platform: Installation, name: str) -> str:
        """Spawn the run, of the profile of that name."""
        more: Json = {}
        if self.repository:
            more["workspace"] = {"git": {"url": self.repository}}
        return await platform.in_turn(self.steps, profile=name, **more)


@asynccontextmanager
async def in_use(platform: Installation, uses: dict[str, Use]) -> AsyncIterator[dict[str, str]]:
    """Offer profiles meanwhile, and spawn a run of each; return these by the profiles' keys."""
    async with held(*(profile(named(key), **use.spec) for key, use in uses.items())):
        ids = await asyncio.gather(*(use.spawn(platform, named(key)) for key, use in uses.items()))
        yield dict(zip(uses, ids, strict=True))


def over_ssh(secret_name: str) -> Json:
    url = f"ssh://{team.SSH_USER}@{team.HOST}:{team.SSH}/srv/git/private/demo.git"
    return {"workspace": {"git": {"url": url}}, "git": {"credentialsSecret": secret_name}}


SEARCH_FOR_KEYS = (
    "env; cat /proc/[0-9]*/cmdline | tr '\\0' ' '; cat .git/config; id -u;"
    " find / -xdev -name '*ssh-*' -o -name known_hosts 2>/dev/null; ls /var/run/secrets;"
    " echo from-ssh > ssh.txt"
)
USES: dict[str, Use] = {
    "trust": Use(
        {"git": ACCESS, "network": {"caBundle": CA}},
        (
            [
                "run",
                f"{REACH.format(url=f'{SERVER}/demo.git')};"
                " echo $(grep -c BEGIN $SSL_CERT_FILE) roots; echo x > x.txt",
            ],
        ),
        f"{SERVER}/private/demo.git",
    ),
    **{
        key: Use(
            {"git": ACCESS, "network": {"caBundle": CA, "proxy": proxy}},
            (
                [
                    "run",
                    f"{REACH.format(url=f'{HIDDEN_SERVER}/demo.git')};"
                    " echo $HTTPS_PROXY; echo x > x.txt",
                ],
            ),
            f"{HIDDEN_SERVER}/private/demo.git",
        )
        for key, proxy in PROXIES.items()
    },
    "cached": Use(
        {
            "caches": [
                {"claim": CLAIM, "mountPath": "/caches/pip", "subPath": "python/pip"},
                {"claim": CLAIM, "mountPath": "/caches/all", "readOnly": True},
            ],
            "env": [{"name": "PIP_CACHE_DIR", "value": "/caches/pip"}],
        },
        (
            [
                "run",
                "echo wheel > $PIP_CACHE_DIR/wheel; touch /caches/all/x || echo cannot be written",
            ],
        ),
    ),
    "mcp": Use(
        {
            "mcpServers": [
                {**STOCK, "headers": [STOCK_HEADER, {"name": "X-Team", "value": "a"}]},
                {
                    "name": "local",
                    "command": "serve",
                    "args": ["--quietly"],
                    "env": [{"name": "SIGN", "secret": {"name": "team-mcp", "key": "sign"}}],
                },
            ],
            "instructionFiles": [
                {"path": "notes/rules.md", "configMap": {"name": "team-rules", "key": "rules.md"}},
                {"path": "notes/more.md", "text": "Be brief."},
            ],
            "env": [{"name": "ACP_AGENT_MCP", "value": "http"}],
        },
        (["servers"], ["run", "cat ~/notes/*; ls -la /var/run /var/run/secrets 2>&1"]),
    ),
    "elsewhere": Use(
        {"git": {"credentialsSecret": "team-password"}},
        (["say", "x"],),
        f"http://{team.HOST}:{team.HTTP}/private/demo.git",
    ),
    **{
        secret_name: Use(
            {**over_ssh(secret_name), "pod": {"runAsUser": user}}, (["run", SEARCH_FOR_KEYS],)
        )
        for secret_name, user in (("team-ssh", 1000), ("team-ssh-rsa", 4242))
    },
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def used(platform: Installation, around: Team) -> AsyncIterator[dict[str, str]]:
    """All of them at once, which takes hardly longer than one."""
    async with in_use(platform, USES) as runs:
        yield runs


async def test_a_custom_ca_is_trusted_by_git_and_by_the_agent(
    platform: Installation, used: dict[str, str]
) -> None:
    run, said = await finish(platform, used["trust"])
    assert "python reached it" in said, said
    assert "git reached it" in said, said
    # Those of the image are trusted as before.
    counted = re.search(r"\\n(\d+) roots", said)
    assert counted is not None, said
    assert int(counted[1]) > 100
    assert run["result"]["pushed"] is True


async def test_hosts_behind_a_proxy_are_reached_through_it(
    platform: Installation, around: Team, used: dict[str, str]
) -> None:
    for key, proxy in PROXIES.items():
        run, said = await finish(platform, used[key])
        assert "python reached it" in said, said
        assert "git reached it" in said, said
        assert run["result"]["pushed"] is True
        if "urlSecret" in proxy:
            assert team.PROXY_ENCODED not in said
            assert "[redacted]" in said
    log = await around.logs("proxy")
    # Of each proxy, which is a process of its own: the runner's fetch and push, the agent's two.
    target = re.escape(f"{team.HIDDEN}:{team.HTTPS}")
    tunnels = Counter(re.findall(rf"\[(\d+)\]: Request .*: CONNECT {target} ", log))
    assert len(tunnels) == len(PROXIES), log
    assert min(tunnels.values()) >= 4, log
    assert "agentrun-mcp" not in log


async def test_remote_agents_are_reached_through_the_proxy_and_trusted_by_the_custom_ca(
    platform: Installation, around: Team
) -> None:
    network = {"caBundle": CA, "proxy": PROXIES["proxied-with-a-password"]}
    # Names in .svc need no proxy, and this is none; the other is known to the proxy only.
    near = {"agent_url": "http://a2a.agentrun-dev:8080/streaming"}
    hidden = {"agent_url": HIDDEN_SERVER}
    name = named("remote")
    async with held(remotes.profile(name, network=network)):
        first, second = await asyncio.gather(
            *(
                remotes.spawn(platform, config, ["say", "hello"], profile=name)
                for config in (near, hidden)
            )
        )
        await finish(platform, first)
        run, _ = await platform.client.finish(second)
    # No agent is there, but a server that has shown a certificate of the team's authority.
    card = f"{HIDDEN_SERVER}/.well-known/agent-card.json"
    assert f"{card} answered 404" in run["message"], run
    log = await around.logs("proxy")
    assert "a2a.agentrun-dev:8080" in log
    assert f"CONNECT {team.HIDDEN}:{team.HTTPS}" in log


async def test_a_second_run_finds_what_the_first_stored_in_the_cache(
    platform: Installation, used: dict[str, str]
) -> None:
    first = used["cached"]
    assert "cannot be written" in (await finish(platform, first))[1]
    look = "cat $PIP_CACHE_DIR/wheel /caches/all/python/pip/wheel"
    second = await platform.trivial(["run", look], profile=named("cached"))
    pod = await pod_of(first)
    mounted = {
        one["name"]: [mount["mountPath"] for mount in one["volumeMounts"]]
        for one in pod["spec"]["containers"]
    }
    assert not [path for path in mounted["runner"] if path.startswith("/caches")]
    assert "wheel\\nwheel" in (await finish(platform, second))[1]


async def test_an_agent_is_given_its_profiles_mcp_servers_and_files(
    platform: Installation, used: dict[str, str]
) -> None:
    run, said = await finish(platform, used["mcp"])
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
    assert "agentrun-mcp" not in said


@pytest.mark.failure("git-host-not-named")
async def test_a_run_cannot_have_the_profiles_password_sent_to_a_server_of_its_choice(
    platform: Installation, used: dict[str, str]
) -> None:
    await check_failure(platform, used["elsewhere"], "git-host-not-named")


@pytest.mark.parametrize(
    ("secret_name", "user"),
    [
        pytest.param("team-ssh", 1000, id="ed25519"),
        # A uid that has no account anywhere; ssh alone would refuse it.
        pytest.param("team-ssh-rsa", 4242, id="rsa-and-a-uid-without-an-account"),
    ],
)
async def test_ssh_clones_and_pushes_and_the_agent_sees_no_key(
    platform: Installation, used: dict[str, str], secret_name: str, user: int
) -> None:
    run, said = await finish(platform, used[secret_name])
    assert run["result"]["pushed"] is True, run
    assert f"\\n{user}\\n" in said
    assert "BEGIN" not in said
    assert "ssh-privatekey" not in said
    # The command itself names it without a folder.
    assert "/known_hosts" not in said
    # What was pushed over ssh is there for who comes another way.
    with product.service_url(platform.cluster, fixtures.NAMESPACE, team.NAME, team.HTTP) as url:
        whole = f"{url.replace('://', f'://{product.GIT_USER}:{product.GIT_PASSWORD}@')}/private"
        heads = (await called("git", "ls-remote", f"{whole}/demo.git")).stdout
    assert f"{run['commit']}\trefs/heads/{run['branch']}" in heads


# Profiles that name something wrongly, private images, and real agents: what fails, fails only
# after the operator's patience, so all of them are begun before the first is looked at


def over_https(**spec: Any) -> Json:
    url = f"https://{team.HOST}:{team.HTTPS}/private/demo.git"
    network = {"caBundle": CA}
    git = {"credentialsSecret": "team-password"}
    return {"workspace": {"git": {"url": url}}, "network": network, "git": git, **spec}


ATTEMPTS: dict[str, Json] = {
    "git-password-missing": over_https(git={}),
    "git-password-refused": over_https(git={"credentialsSecret": "team-wrong"}),
    "git-authority-unknown": over_https(network={}),
    "git-key-refused": over_ssh("team-ssh-stranger"),
    "git-key-locked": over_ssh("team-ssh-locked"),
    "git-host-unknown": over_ssh("team-ssh-unknown"),
    "git-host-changed": over_ssh("team-ssh-changed"),
    "ca-bundle-empty": {"network": {"caBundle": {"name": "team-ca", "key": "empty"}}},
    "ca-bundle-missing": {"network": {"caBundle": {"name": "no-such-map", "key": "k"}}},
    "mcp-transport": {"mcpServers": [STOCK]},
}


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def attempted(around: Team) -> AsyncIterator[None]:
    """All of them at once, which takes hardly longer than one."""
    prompt = trivial(["say", "x"])
    profiles = [profile(named(key), **spec) for key, spec in ATTEMPTS.items()]
    runs = [a_run(named(key), profile=named(key), prompt=prompt) for key in ATTEMPTS]
    async with held(*profiles), held(*runs):
        yield


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def private_image(
    around: Team, platform: Installation, cluster: Cluster
) -> AsyncIterator[str]:
    """The image of the trivial agent, where one has to say who one is."""
    async with held(*registry.objects()):
        await serves(registry.NAME)
        with product.service_url(
            platform.cluster, fixtures.NAMESPACE, registry.NAME, registry.PORT
        ) as url:
            registry.introduce(cluster, url)
            # Of its own each time, so that the node cannot have it from an earlier one.
            tag = str(time.time_ns())
            image = images.name_of("dev")
            await asyncio.to_thread(registry.push, image, url, "team/agent", tag)
            yield f"{registry.HOST}/team/agent:{tag}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def pulling(
    platform: Installation, around: Team, private_image: str
) -> AsyncIterator[dict[str, str]]:
    """Runs of the private image, by what their profiles say of pull Secrets."""
    config = team.docker_config(registry.HOST, registry.USER, registry.PASSWORD)
    pull = secret("team-pull", "kubernetes.io/dockerconfigjson", **{".dockerconfigjson": config})
    image = {"image": private_image, "imagePullPolicy": "Always"}
    uses = {
        "refused": Use(image, (["say", "x"],)),
        "unready": Use(image | {"imagePullSecrets": ["no-such-secret"]}, (["say", "x"],)),
        "pulled": Use(image | {"imagePullSecrets": ["team-pull"]}, (["say", "pulled"],)),
    }
    async with held(pull), in_use(platform, uses) as runs:
        yield runs


REAL = {"codex": ".codex/AGENTS.md", "claude_code": ".claude/CLAUDE.md"}
"""The real agents, and where each finds what it is instructed with."""
ALL_OF_IT: Json = {
    "network": {"caBundle": CA, "proxy": PROXIES["proxied"]},
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


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def real(
    platform: Installation, around: Team, attempted: None, pulling: dict[str, str]
) -> AsyncIterator[dict[str, str]]:
    """A run of each real agent, whose profile names all that there is."""
    defaults = {backend: await get("aprofile", backend.replace("_", "-")) for backend in REAL}
    profiles = {
        backend: {
            # Not the trivial agent's own: theirs has no command.
            **profile(named(backend.replace("_", "-"))),
            "spec": default["spec"] | ALL_OF_IT,
        }
        for backend, default in defaults.items()
        if default is not None
    }
    async with held(*profiles.values()):
        ids = await asyncio.gather(
            *(
                platform.spawn(
                    backend,
                    script(
                        {"tool": "stock/stock_of", "arguments": {"article": "nut"}},
                        {"tool": "local/stock_of", "arguments": {"article": "bolt"}},
                        {"shell": f"cat ~/{instructions}; echo x > x.txt"},
                        {"say": "done"},
                    ),
                    profile=profiles[backend]["metadata"]["name"],
                    workspace={"git": {"url": REPOSITORY}},
                )
                for backend, instructions in REAL.items()
            )
        )
        yield dict(zip(REAL, ids, strict=True))


async def test_real_agents_work_with_all_features_of_a_profile(
    platform: Installation, around: Team, real: dict[str, str]
) -> None:
    for run_id in real.values():
        _, said = await finish(platform, run_id)
        assert "21 pieces of nut, says the server" in said, said
        # What signs is a Secret's value: it has arrived, and is told to nobody.
        assert "28 pieces of bolt, says [redacted]" in said, said
        assert "Count in sevens." in said, said
        # The files are the agent's, and no part of its change.
        assert (await platform.status(run_id))["result"]["filesChanged"] == 1
    # Each of them has called it, and once.
    assert (await around.logs("mcp")).count("tools/call") == len(real)
    assert "model" not in await around.logs("proxy")


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
async def test_errors_in_a_profile_are_reported_to_its_users(
    platform: Installation, attempted: None, key: str
) -> None:
    run = await check_failure(platform, named(key), key)
    assert product.GIT_PASSWORD not in json.dumps(run)


@pytest.mark.failure("image-refused", "pull-secret-missing")
async def test_a_private_image_is_pulled_with_the_profiles_secret_and_not_without(
    platform: Installation, private_image: str, pulling: dict[str, str]
) -> None:
    run, _ = await finish(platform, pulling["pulled"])
    assert run["result"]["summary"] == "pulled"
    fields = f"involvedObject.name={pulling['pulled']}-1,reason=Pulled"
    story = [event["message"] for event in await items("events", fields=fields)]
    assert any(f'Successfully pulled image "{private_image}"' in told for told in story), story
    await check_failure(platform, pulling["refused"], "image-refused")
    await check_failure(platform, pulling["unready"], "pull-secret-missing")
