"""Who gets to see the profile's git credentials, and what git's complaints are turned into."""

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from agentrun.api.git_access import shown_to
from agentrun.api.repositories import is_branch_in, is_covered, is_same
from agentrun.api.v1alpha1 import AgentProfileSpec
from agentrun.runner.git.credentials import (
    has_passphrase,
    is_ssh,
    is_web,
    password_env,
    ssh_env,
)
from agentrun.runner.git.errors import CredentialKind, explain
from agentrun.runner.git.git import Git
from agentrun.runner.journal.redact import Redactor


def a_profile(repositories: list[str], url: str | None = None, **git: Any) -> AgentProfileSpec:
    workspace: dict[str, Any] | None = {"git": {"url": url}} if url else None
    more = {"repositories": repositories, **git}
    return AgentProfileSpec.model_validate(
        {"backend": "acp", "image": "i", "git": more, "workspace": workspace}
    )


LISTED = ["https://Git.Example.com/team", "https://git.internal:8443/a/b.git", "http://old/x"]


def ask(
    tmp_path: Path, url: str, config: str = "", **files: str
) -> subprocess.CompletedProcess[str]:
    """Let git itself ask for a password, in a repository whose configuration is the agent's."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name, text in files.items():
        (credentials / name).write_text(text)
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    with (tmp_path / ".git/config").open("a") as file:
        file.write(config)
    env = password_env(credentials, shown_to(a_profile(LISTED)))
    return subprocess.run(
        ["git", "credential", "fill"],
        cwd=tmp_path,
        input=f"url={url}\n\n",
        env={"PATH": os.environ["PATH"], "GIT_TERMINAL_PROMPT": "0", "HOME": "/", **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    "url",
    [
        pytest.param("https://git.example.com/team/shop.git", id="in-the-folder"),
        pytest.param("https://GIT.example.com:443/team/deep/er", id="case-and-port"),
        pytest.param("https://ada@git.example.com/team/shop", id="user"),
        pytest.param("https://git.internal:8443/a/b", id="the-repository"),
    ],
)
def test_the_password_is_sent_to_the_profiles_repositories(tmp_path: Path, url: str) -> None:
    said = ask(tmp_path, url, username="ada", password="secret\n").stdout.splitlines()
    assert {"username=ada", "password=secret"} <= {*said}


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example/team/shop.git",
        "https://git.example.com/other/shop.git",
        "https://git.example.com/teammates/shop.git",
        "https://git.example.com/team/../other/shop.git",
        "https://git.example.com/team/%2e%2e/other/shop.git",
        "https://git.example.com/team/%252e%252e/other/shop.git",
        "https://git.example.com/team//x",
        "https://git.example.com/",
        "https://git.example.com/team?x=/team",
        "https://git.example.com.evil.example/team/shop.git",
        "https://git.example.com@evil.example/team/shop.git",
        "https://git.example.com:8443/team/shop.git",
        "https://git.internal/a/b",
        "https://git.internal:8443/a/b-secret",
        "http://git.example.com/team/shop.git",
        "http://old/x",
    ],
)
def test_the_password_is_sent_nowhere_else(tmp_path: Path, url: str) -> None:
    done = ask(tmp_path, url, password="secret")
    assert done.returncode != 0
    assert "secret" not in done.stdout.replace("b-secret", "")
    assert "the password is not for" in done.stderr


def test_a_repositorys_own_credential_helper_is_not_called(tmp_path: Path) -> None:
    told = tmp_path / "told"
    config = f'[credential]\n\thelper = "!cat >>{told}; #"\n'
    done = ask(tmp_path, "https://git.example.com/team/x", config, password="secret")
    assert "password=secret" in done.stdout
    assert not told.exists()


def test_the_credential_helper_loads_nothing_from_the_agents_folder(tmp_path: Path) -> None:
    for name in ("agentrun", "pathlib"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('the agent was here')")
    done = ask(tmp_path, "https://git.example.com/team/x", password="secret")
    assert "password=secret" in done.stdout, done.stderr


def test_a_token_alone_is_sufficient(tmp_path: Path) -> None:
    done = ask(tmp_path, "https://git.example.com/team/x", password="token")
    assert {"username=git", "password=token"} <= {*done.stdout.splitlines()}


def test_without_a_list_the_password_is_sent_to_the_profiles_own_repository() -> None:
    url = "https://u@git.example.com/team/x.git"
    profile = a_profile([], url)
    assert is_covered("https://git.example.com/team/x", shown_to(profile))
    assert not is_covered("https://git.example.com/team/y", shown_to(profile))
    assert shown_to(a_profile([])) == []


def test_a_password_goes_over_http_only_where_the_profile_allows_it() -> None:
    url = "http://git.example.com/x"
    assert shown_to(a_profile([url])) == []
    assert shown_to(a_profile([url], plaintextCredentials=True)) == [url]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("git@h:team/x.git", "ssh://git@h/team/x", True),
        ("git@h:team/x.git", "ssh://git@h:22/team/x/", True),
        ("h:team/x", "ssh://git@h/team/x", True),
        ("git@h:team/x", "root@h:team/x", False),
        ("https://u:p@H/x.git", "https://h:443/x", True),
        ("https://h/x", "http://h/x", False),
        ("https://h/x", "https://h/X", False),
        ("git@h:a/../x", "git@h:a/../x", False),
    ],
)
def test_repositories_are_identified_by_url(one: str, other: str, same: bool) -> None:
    assert is_same(one, other) is same


@pytest.mark.parametrize(
    ("branch", "patterns", "fits"),
    [
        ("agentrun/run-1", ["agentrun/*"], True),
        ("main", ["agentrun/*"], False),
        ("agentrun", ["agentrun/*"], False),
        ("x/agentrun/y", ["agentrun/*"], False),
        ("refs/heads/main", ["main"], False),
        ("fix/a.b", ["fix/a.b", "x"], True),
        ("fix/a-b", ["fix/a.b"], False),
        ("anything", ["*"], True),
        ("main", [], False),
    ],
)
def test_branch_patterns_match_complete_names(branch: str, patterns: list[str], fits: bool) -> None:
    assert is_branch_in(branch, patterns) is fits


@pytest.mark.parametrize(
    ("url", "web", "ssh"),
    [
        ("https://Git.example.com/x", True, False),
        ("HTTP://u:p@git.example.com:8080/x", True, False),
        ("ssh://git@git.example.com/x", False, True),
        ("git@git.example.com:x/y", False, True),
        ("git://git.example.com/x", False, False),
        ("/srv/a:b", False, False),
    ],
)
def test_urls_are_distinguished(url: str, web: bool, ssh: bool) -> None:
    assert (is_web(url), is_ssh(url)) == (web, ssh)


@pytest.mark.parametrize(
    ("secret", "url", "fits"),
    [
        ({"password": "x"}, "https://git.example.com/x", True),
        ({"password": "x"}, "git@git.example.com:x", False),
        ({"ssh-privatekey": "x"}, "git@git.example.com:x", True),
        ({"ssh-privatekey": "x"}, "https://git.example.com/x", False),
        ({}, "https://git.example.com/x", False),
    ],
)
def test_credentials_fit_only_matching_urls(
    tmp_path: Path, secret: dict[str, str], url: str, fits: bool
) -> None:
    for name, text in secret.items():
        (tmp_path / name).write_text(text)
    assert Git(tmp_path / "own", tmp_path, Redactor()).fits(url) is fits


def test_the_ssh_key_is_available_only_for_the_profiles_repositories(tmp_path: Path) -> None:
    (tmp_path / "ssh-privatekey").write_text("key")
    git = Git(tmp_path / "own", tmp_path, Redactor())
    for url, has_key in (("git@h:other/x", False), ("git@h:team/x", True)):
        assert not (tmp_path / "own/ssh-key").exists()
        git.show_credentials_to(["git@h:team"], url)
        assert (tmp_path / "own/ssh-key").exists() is has_key


def test_ssh_trusts_only_the_known_hosts_of_the_secret(tmp_path: Path) -> None:
    (tmp_path / "ssh-privatekey").write_text("line\r\nline")
    assert (
        "UserKnownHostsFile=/dev/null"
        in ssh_env(tmp_path, tmp_path, with_key=True)["GIT_SSH_COMMAND"]
    )
    (tmp_path / "known_hosts").touch()
    command = ssh_env(tmp_path, tmp_path, with_key=True)["GIT_SSH_COMMAND"]
    assert f"UserKnownHostsFile={tmp_path / 'known_hosts'}" in command
    assert "StrictHostKeyChecking=yes" in command
    key = tmp_path / "ssh-key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("line\nline\n", 0o600)


@pytest.mark.parametrize(
    ("credentials", "complaint", "cause"),
    [
        (
            CredentialKind.NONE,
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            "name a Secret",
        ),
        (
            CredentialKind.KEY,
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            "holds an ssh key",
        ),
        (
            CredentialKind.PASSWORD,
            "the password is not for evil.example\nfatal: could not read Username",
            "not for evil.example: the profile's git.repositories",
        ),
        (
            CredentialKind.PASSWORD,
            "fatal: Authentication failed for 'https://h/x/'",
            "refuses the user and password",
        ),
        (
            CredentialKind.PASSWORD,
            "fatal: The requested URL returned error: 403",
            "lack a permission",
        ),
        (
            CredentialKind.KEY,
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "differs from the one in",
        ),
        (
            CredentialKind.KEY,
            "No ED25519 host key is known for h.\nHost key verification failed.",
            "not in the Secret's known_hosts",
        ),
        (CredentialKind.NONE, "Host key verification failed.", "ssh needs a key"),
        (
            CredentialKind.LOCKED_KEY,
            "git@h: Permission denied (publickey).",
            "passphrase, which cannot",
        ),
        (
            CredentialKind.KEY,
            "git@h: Permission denied (publickey).",
            "does not accept the ssh key",
        ),
        (
            CredentialKind.KEY,
            'Load key "/k": error in libcrypto\ngit@h: Permission denied (publickey).',
            "is not a private key",
        ),
        (
            CredentialKind.NONE,
            "server certificate verification failed. CAfile: /x CRLfile: none",
            "network.caBundle",
        ),
        (CredentialKind.NONE, "Received HTTP code 403 from proxy after CONNECT", "network.proxy"),
    ],
)
def test_an_error_of_git_is_explained(
    credentials: CredentialKind, complaint: str, cause: str
) -> None:
    said = explain(complaint, credentials)
    assert cause in said
    assert said.endswith(complaint)


def test_an_unknown_error_of_git_is_not_changed() -> None:
    assert explain("fatal: bad thing", CredentialKind.NONE) == "fatal: bad thing"


@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
@pytest.mark.parametrize("passphrase", ["", "a passphrase"])
def test_a_key_that_a_passphrase_protects_is_distinguished_from_others(
    tmp_path: Path, form: str, passphrase: str
) -> None:
    key = tmp_path / "key"
    made = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", form, "-N", passphrase]
    subprocess.run([*made, "-f", key], check=True)
    assert has_passphrase(key.read_text(encoding="ascii")) is bool(passphrase)


def test_an_invalid_key_has_no_passphrase() -> None:
    assert not has_passphrase("-----BEGIN OPENSSH PRIVATE KEY-----\nnot base64!\n")
