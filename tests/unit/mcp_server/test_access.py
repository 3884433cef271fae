"""Who is let in: subjects as RBAC has them, and nobody else."""

import pytest

from mcp_server.access.auth import Caller
from mcp_server.access.subjects import NOBODY, Access, ForbiddenError, parse_access

SUBJECTS = """[
  {"kind": "User", "name": "jane@example.test"},
  {"kind": "Group", "name": "developers"},
  {"kind": "ServiceAccount", "name": "agentrun-client", "namespace": "agents"}
]"""
OF_AGENTS = ("system:serviceaccounts", "system:serviceaccounts:agents", "system:authenticated")
CLIENT = "system:serviceaccount:agents:agentrun-client"


@pytest.mark.parametrize(
    ("caller", "is_in"),
    [
        pytest.param(Caller(CLIENT, OF_AGENTS), True, id="service-account"),
        pytest.param(Caller("jane@example.test"), True, id="user"),
        pytest.param(Caller("joe", ("others", "developers")), True, id="member"),
        pytest.param(Caller("developers"), False, id="user-called-as-the-group"),
        pytest.param(Caller("joe", ("jane@example.test",)), False, id="group-called-as-the-user"),
        pytest.param(Caller("agentrun-client"), False, id="name-alone"),
        pytest.param(Caller(CLIENT.replace("agents", "others")), False, id="other-namespace"),
        pytest.param(Caller(f"{CLIENT}-2"), False, id="longer-name"),
        pytest.param(Caller(CLIENT.upper()), False, id="other-case"),
        pytest.param(Caller("system:serviceaccount:agents:default", OF_AGENTS), False, id="peer"),
        pytest.param(Caller("", ()), False, id="nobody"),
    ],
)
def test_who_is_named_is_let_in_and_nobody_else(caller: Caller, is_in: bool) -> None:
    access = parse_access(SUBJECTS)
    assert access.admits(caller) is is_in
    assert not NOBODY.admits(caller)
    if not is_in:
        with pytest.raises(ForbiddenError):
            access.check(caller)


def test_a_group_lets_in_all_accounts_of_a_namespace() -> None:
    access = parse_access('[{"kind": "Group", "name": "system:serviceaccounts:agents"}]')
    assert access.admits(Caller("system:serviceaccount:agents:default", OF_AGENTS))
    assert not access.admits(Caller(CLIENT, ("system:serviceaccounts", "system:authenticated")))


@pytest.mark.parametrize("text", ["", " ", "[]"])
def test_without_subjects_nobody_is_let_in(text: str) -> None:
    assert parse_access(text) == NOBODY == Access()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("{", "Invalid JSON", id="no-json"),
        pytest.param('{"kind": "User"}', "valid array", id="no-list"),
        pytest.param('[{"kind": "Robot", "name": "x"}]', "0.*Robot", id="no-such-kind"),
        pytest.param('[{"kind": "User", "name": ""}]', "0.User.name", id="no-name"),
        pytest.param('[{"kind": "ServiceAccount", "name": "x"}]', "namespace", id="no-namespace"),
        pytest.param(
            '[{"kind": "User", "name": "x", "namespce": "y"}]', "namespce", id="unknown-field"
        ),
    ],
)
def test_a_subject_that_makes_no_sense_is_named_in_one_line(text: str, why: str) -> None:
    with pytest.raises(ValueError, match=why) as caught:
        parse_access(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("username", "entry"),
    [
        (
            "system:serviceaccount:sec-a:nobody",
            "{kind: ServiceAccount, name: nobody, namespace: sec-a}",
        ),
        ('j"o\ne', '{kind: User, name: "j\\"o\\ne"}'),
    ],
)
def test_who_is_refused_is_shown_who_they_are_and_what_would_let_them_in(
    username: str, entry: str
) -> None:
    with pytest.raises(ForbiddenError) as caught:
        NOBODY.check(Caller(username))
    for words in (
        f"{username} is not authorized to use this AgentRun:",
        "mcpServer.access.subjects",
        entry,
    ):
        assert words in str(caught.value)
