"""
Who may call the MCP server: subjects, as RBAC names them.

The API server says who a token speaks for; it cannot say whether that is anybody to this server,
since any pod of the cluster may have a token for any audience. So whoever is not named is refused.
"""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from mcp_server.auth import SERVICE_ACCOUNT, Caller

VALUE = "mcpServer.access.subjects"
"""The chart's value that lets somebody in."""

_Name = Annotated[str, Field(min_length=1)]


class _Subject(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    name: _Name


class User(_Subject):
    """A user, by the name that the API server knows it by."""

    kind: Literal["User"]


class Group(_Subject):
    """Everybody in a group: ``system:serviceaccounts:NS`` has all ServiceAccounts of NS."""

    kind: Literal["Group"]


class ServiceAccount(_Subject):
    """One ServiceAccount."""

    kind: Literal["ServiceAccount"]
    namespace: _Name


Subject = Annotated[User | Group | ServiceAccount, Field(discriminator="kind")]
_SUBJECTS: TypeAdapter[list[Subject]] = TypeAdapter(list[Subject])


class ForbiddenError(ToolError):
    """Somebody whom the API server knows may not do this here. The words are for them."""


@dataclass(frozen=True)
class Access:
    """Those who may call. Without any, nobody may."""

    users: frozenset[str] = frozenset()
    groups: frozenset[str] = frozenset()

    def admits(self, caller: Caller) -> bool:
        """Say whether ``caller`` is one of them, or in one of their groups."""
        return caller.username in self.users or not self.groups.isdisjoint(caller.groups)

    def check(self, caller: Caller) -> None:
        """Refuse ``caller``, unless it is one of them."""
        if not self.admits(caller):
            raise ForbiddenError(
                f"You are {caller.username or 'nobody'}, and this AgentRun does not let you in:"
                f" the value {VALUE} of its Helm release names who may call. Ask an administrator"
                f" to add {_entry(caller)} to it, or use a token of a ServiceAccount that it names."
            )


NOBODY = Access()
"""The default everywhere."""


def access_of(subjects: Iterable[Subject]) -> Access:
    """Make the access of some subjects."""
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
    """Read a JSON list of subjects; a ValueError says what is wrong with it, in one line."""
    if not text.strip():
        return NOBODY
    try:
        return access_of(_SUBJECTS.validate_json(text))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        raise ValueError(f"{where}: {first['msg']}" if where else first["msg"]) from None


def _entry(caller: Caller) -> str:
    """Write the subject that would let ``caller`` in, as YAML has it."""
    if namespace := caller.namespace:
        name = caller.username.removeprefix(f"{SERVICE_ACCOUNT}{namespace}:")
        return f"{{kind: ServiceAccount, name: {name}, namespace: {namespace}}}"
    # A JSON string is one of YAML too, whatever is in it.
    return f"{{kind: User, name: {json.dumps(caller.username)}}}"
