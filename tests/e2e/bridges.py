"""The bridge and the real MCP clients on this machine, each with a HOME of its own."""

import asyncio
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from secrets import token_hex
from typing import Any

from mcp import Client, StdioServerParameters

from dev import clients, paths, product
from tests.e2e.cluster import Json, apply, delete, kubectl

CODEX = """
model = "scripted"
model_provider = "scripted"
approval_policy = "never"
sandbox_mode = "danger-full-access"
check_for_update_on_startup = false
analytics = {{ enabled = false }}

[model_providers.scripted]
name = "scripted"
base_url = "{url}/v1"
env_key = "SCRIPTED_KEY"
wire_api = "responses"
"""
COMMANDS = {
    "claude": ["claude", "-p", "--output-format", "stream-json", "--verbose",
               "--dangerously-skip-permissions"],
    "codex": ["codex", "exec", "--json", "--skip-git-repo-check", "--disable", "plugins"],
}  # fmt: skip
QUIET = {
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_MAX_RETRIES": "2",
    # Claude Code runs as root only if this confirms that it is in a sandbox.
    "IS_SANDBOX": "1",
    # On a busy machine its tools may arrive after the default timeout; Codex then continues without
    # them.
    "MCP_TIMEOUT": "90000",
}


ACCOUNTS = "default"
"""The namespace of the users' ServiceAccounts: it contains neither AgentRun nor runs."""

# In the form that installers write.
_PROGRAM = f"""#!{sys.executable}
import sys

sys.path.insert(0, "{paths.CHECKOUT}/operator")
from agentrun.cli.__main__ import main

sys.exit(main())
"""


@dataclass
class Laptop:
    """A user's machine: a HOME with a kubeconfig, and `agentrun` on PATH."""

    home: Path

    @property
    def environment(self) -> dict[str, str]:
        """The environment of the user's shell, without anything of the tests'."""
        return {
            "HOME": str(self.home),
            "PATH": self._path(),
            "LANG": "C.UTF-8",
            # Other tests have their own releases, and this user may see all of them.
            "AGENTRUN_SYSTEM_NAMESPACE": product.SYSTEM,
        }

    def _path(self, *more: Path) -> str:
        system = ("/usr/local/bin", "/usr/bin", "/bin")
        return ":".join(map(str, (self.home / "bin", *more, *system)))

    async def run(self, *command: str, **more: str) -> str:
        """Run a program to its end and return its output."""
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=self.home,
            env={**self.environment, **more},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        try:
            async with asyncio.timeout(270):
                out, err = await process.communicate()
        except TimeoutError:
            process.kill()
            out, err = await process.communicate()
            raise AssertionError(
                f"{command[0]} did not end:\n{out.decode()}{err.decode()}"
            ) from None
        assert process.returncode == 0, (out + err).decode()
        return out.decode()

    async def ask(self, program: str, prompt: str, model: str) -> str:
        """Give a prompt to `claude` or `codex`, which uses the scripted model."""
        more = {**QUIET, "PATH": self._path(await asyncio.to_thread(clients.install))}
        (self.home / ".codex").mkdir(exist_ok=True)
        config = self.home / ".codex" / "config.toml"
        if program == "codex":
            config.write_text(CODEX.format(url=model))
        # Codex passes little of its environment to its MCP servers.
        bridge = ("agentrun", "mcp", "--system-namespace", product.SYSTEM)
        await self.run(program, "mcp", "add", "agentrun", "--", *bridge, **more)
        keys = {
            "ANTHROPIC_BASE_URL": model,
            "ANTHROPIC_API_KEY": product.MODEL_KEY,
            "SCRIPTED_KEY": product.MODEL_KEY,
        }
        return await self.run(*COMMANDS[program], prompt, **more, **keys)

    @asynccontextmanager
    async def bridge(self, *flags: str, **more: Any) -> AsyncIterator[Client]:
        """Open an MCP client over a new bridge; ``more`` are options of the client."""
        server = StdioServerParameters(
            command=str(self.home / "bin" / "agentrun"),
            args=["mcp", *flags],
            env=self.environment,
        )
        async with Client(server, **more) as client:
            yield client

    def processes(self) -> list[str]:
        """List running processes with this HOME: clients, bridges and their children."""
        mark = f"HOME={self.home}\0".encode()
        found = []
        for process in Path("/proc").iterdir():
            try:
                if process.name.isdecimal() and mark in (process / "environ").read_bytes():
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except (FileNotFoundError, ProcessLookupError, PermissionError):
                continue  # It ended during the scan.
        return [line for line in found if line]


def make_laptop(home: Path, kubeconfig: str) -> Laptop:
    """Set up a machine as docs/clients.md describes."""
    (home / "bin").mkdir(parents=True)
    (home / ".kube").mkdir()
    (home / ".kube" / "config").write_text(kubeconfig)
    program = home / "bin" / "agentrun"
    program.write_text(_PROGRAM)
    program.chmod(0o755)
    (home / "bin" / "kubectl-agentrun").symlink_to("agentrun")
    completing = home / "bin" / "kubectl_complete-agentrun"
    completing.write_text(_PROGRAM.replace("__main__", "kubectl_complete"))
    completing.chmod(0o755)
    kubectl = shutil.which("kubectl")
    assert kubectl is not None
    (home / "bin" / "kubectl").symlink_to(kubectl)
    return Laptop(home)


@dataclass(frozen=True)
class User:
    """A user with a token and only the permissions that a test grants."""

    name: str
    kubeconfig: str = field(repr=False)
    _given: list[Json] = field(default_factory=list, init=False, repr=False)

    async def may(self, role: str, namespace: str) -> None:
        """Bind the user to a Role of a namespace."""
        group = "rbac.authorization.k8s.io"
        subject = {"kind": "ServiceAccount", "name": self.name, "namespace": ACCOUNTS}
        await self._give(
            {
                "apiVersion": f"{group}/v1",
                "kind": "RoleBinding",
                "metadata": {"name": f"{self.name}-{role}", "namespace": namespace},
                "roleRef": {"apiGroup": group, "kind": "Role", "name": role},
                "subjects": [subject],
            }
        )

    async def may_read(self, group: str, resource: str, namespace: str) -> None:
        """Grant the user a new Role that allows reading objects of one kind."""
        rule = {"apiGroups": [group], "resources": [resource], "verbs": ["get", "list"]}
        await self._give(
            {
                "apiVersion": "rbac.authorization.k8s.io/v1",
                "kind": "Role",
                "metadata": {"name": self.name, "namespace": namespace},
                "rules": [rule],
            }
        )
        await self.may(self.name, namespace)

    async def take_away(self) -> None:
        """Remove all permissions that were granted."""
        for one in self._given:
            names = one["metadata"]
            await delete(one["kind"], names["name"], namespace=names["namespace"])

    async def _give(self, one: Json) -> None:
        self._given.append(one)
        await apply(one)


@asynccontextmanager
async def a_user() -> AsyncIterator[User]:
    """Create a user without any permissions."""
    name = f"user-{token_hex(4)}"
    names = {"name": name, "namespace": ACCOUNTS}
    await apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": names})
    token = (await kubectl("create", "token", name, "-n", ACCOUNTS)).strip()
    user = User(name, user_kubeconfig(read_kubeconfig(), name, token))
    try:
        yield user
    finally:
        await user.take_away()
        await delete("serviceaccount", name, namespace=ACCOUNTS)


def user_kubeconfig(admin: str, user: str, token: str) -> str:
    """Build the kubeconfig of a user who has a token and nothing else."""
    content = json.loads(admin)
    [context] = content["contexts"]
    context["context"]["user"] = user
    return json.dumps({**content, "users": [{"name": user, "user": {"token": token}}]})


def read_kubeconfig() -> str:
    """Read the tests' own kubeconfig."""
    return Path(os.environ["KUBECONFIG"]).read_text(encoding="utf-8")
