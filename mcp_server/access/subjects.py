"""
The access list of the MCP server: subjects, as in RBAC.

The API server authenticates the holder of a token, but does not authorize it for this server, since
any pod of the cluster may have a token for any audience. Therefore callers that are not listed are
rejected.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mcp_server.access.auth import SERVICE_ACCOUNT, Caller

VALUE = "mcpServer.access.subjects"
"""The Helm value that lists the authorized subjects."""

_Name = Annotated[str, Field(min_length=1)]


class _Subject(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name


class User(_Subject):
    """A user, by its Kubernetes username."""

    kind: Literal["User"]


class Group(_Subject):
    """All members of a group: ``system:serviceaccounts:NS`` has all ServiceAccounts of NS."""

    kind: Literal["Group"]


class ServiceAccount(_Subject):
    """One ServiceAccount."""

    kind: Literal["ServiceAccount"]
    namespace: _Name


Subject = Annotated[User | Group | ServiceAccount, Field(discriminator="kind")]
_SUBJECTS: TypeAdapter[list[Subject]] = TypeAdapter(list[Subject])


class ForbiddenError(ToolError):
    """An authenticated caller is not authorized. The message is shown to the caller."""


@dataclass(frozen=True)
class Access:
    """The users and groups that may call. By default there are none."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def admits(self, caller: Caller) -> bool:
        """Return whether ``caller`` is a listed user or in a listed group."""
        return caller.username in self.users or not self.groups.isdisjoint(caller.groups)

    def check(self, caller: Caller) -> None:
        """Raise ForbiddenError if ``caller`` is not authorized."""
        if not self.admits(caller):
            raise ForbiddenError(
                f"{caller.username or 'An unnamed user'} is not authorized to use this AgentRun:"
                f" the value {VALUE} of its Helm release lists the authorized subjects. Ask an"
                f" administrator to add {_entry(caller)} to it, or use a token of a ServiceAccount"
                " that it lists."
            )


NOBODY = Access()
"""The default: no caller is authorized."""


def access_of(subjects: Iterable[Subject]) -> Access:
    """Build the access list of some subjects."""
    users, groups = set(), set()
    for one in subjects:
        match one:
            case Group():
                groups.add(one.name)
            case User():
                users.add(one.name)
            case ServiceAccount():
                users.add(f"{SERVICE_ACCOUNT}{one.namespace}:{one.name}")
    return Access(frozenset(users), frozenset(groups))


def parse_access(text: str) -> Access:
    """Parse a JSON list of subjects. Raises ValueError, with one line, if it is invalid."""
    if not text.strip():
        return NOBODY
    try:
        return access_of(_SUBJECTS.validate_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _entry(caller: Caller) -> str:
    """Format the subject that would authorize ``caller``, as YAML."""
    if namespace := caller.namespace:
        name = caller.username.removeprefix(f"{SERVICE_ACCOUNT}{namespace}:")
        return f"{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}"
    # Every JSON string is also a YAML string.
    return f"{{kind: User, name: {json.dumps(caller.username)}}}"
