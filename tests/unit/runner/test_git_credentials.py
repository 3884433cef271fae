"""Who gets to see the profile's git credentials, and what git's complaints are turned into."""

import subprocess
from pathlib import Path
from typing import Any

import pytest

from agentrun.api.v1alpha1 import AgentProfileSpec
from agentrun.runner.complaints import Credentials, explain
from agentrun.runner.git import Git
from agentrun.runner.git_credentials import (
    has_passphrase,
    is_ssh,
    password_env,
    password_hosts,
    ssh_env,
    web_host,
)
from agentrun.runner.redact import Redactor


def a_profile(hosts: list[str], url: str | None = None) -> AgentProfileSpec:
    workspace: dict[str, Any] | None = {"git": {"url": url}} if url else None
    return AgentProfileSpec.model_validate(
        {"backend": "acp", "image": "i", "git": {"hosts": hosts}, "workspace": workspace}
    )


def ask(tmp_path: Path, question: str, **files: str) -> subprocess.CompletedProcess[str]:
    """Let the helper answer a question of git's."""
    credentials = tmp_path / "credentials"
    credentials.mkdir()
    for name, text in files.items():
        (credentials / name).write_text(text)
    hosts = password_hosts(a_profile(["Git.Example.com", "git.internal:8443"]))
    env = password_env(tmp_path, credentials, hosts)
    return subprocess.run(
        [env["GIT_ASKPASS"], question],
        env={"PATH": "/usr/bin:/bin", **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("question", "answer"),
    [
        pytest.param("Username for 'https://git.example.com': ", "ada", id="user"),
        pytest.param("Password for 'https://ada@git.example.com': ", "secret", id="password"),
        pytest.param("Password for 'https://ada@GIT.example.com': ", "secret", id="case"),
        pytest.param("Password for 'https://ada@git.example.com:443': ", "secret", id="port-of-it"),
        pytest.param("Password for 'https://ada@git.internal:8443/a/b': ", "secret", id="port"),
    ],
)
def test_the_password_goes_to_hosts_of_the_profile(
    tmp_path: Path, question: str, answer: str
) -> None:
    assert ask(tmp_path, question, username="ada", password="secret").stdout.strip() == answer


@pytest.mark.parametrize(
    "url",
    [
        "https://evil.example",
        "https://git.example.com.evil.example",
        "https://git.example.com@evil.example",
        "https://git.example.com'@evil.example",
        "https://evil.example/git.example.com",
        "https://git.example.com:8443",
        "https://git.internal",
        "https://*",
        "https://",
    ],
)
def test_the_password_goes_to_nobody_else(tmp_path: Path, url: str) -> None:
    done = ask(tmp_path, f"Password for '{url}': ", password="secret")
    assert (done.returncode, done.stdout) == (1, "")
    assert "the password is not for" in done.stderr


def test_a_token_alone_is_enough(tmp_path: Path) -> None:
    done = ask(tmp_path, "Username for 'https://git.example.com': ", password="token")
    assert done.stdout == "git\n"


def test_the_profiles_own_repository_is_on_a_host_of_the_profile() -> None:
    assert "git.example.com" in password_hosts(a_profile([], "https://u@git.example.com/x.git"))
    assert password_hosts(a_profile([], "git@git.example.com:x.git")) == set()


@pytest.mark.parametrize(
    ("url", "host", "ssh"),
    [
        ("https://Git.example.com/x", "git.example.com", False),
        ("http://u:p@git.example.com:8080/x", "git.example.com:8080", False),
        ("ssh://git@git.example.com/x", "", True),
        ("git@git.example.com:x/y", "", True),
        ("git://git.example.com/x", "", False),
        ("/srv/a:b", "", False),
    ],
)
def test_urls_are_told_apart(url: str, host: str, ssh: bool) -> None:
    assert (web_host(url), is_ssh(url)) == (host, ssh)


@pytest.mark.parametrize(
    ("secret", "url", "known"),
    [
        ({"password": "x"}, "https://git.example.com/x", True),
        ({"password": "x"}, "https://evil.example/x", False),
        ({"password": "x"}, "git@git.example.com:x", False),
        ({"ssh-privatekey": "x"}, "git@git.example.com:x", True),
        ({"ssh-privatekey": "x"}, "https://git.example.com/x", False),
        ({}, "https://git.example.com/x", False),
    ],
)
def test_there_are_credentials_only_for_urls_they_fit(
    tmp_path: Path, secret: dict[str, str], url: str, known: bool
) -> None:
    for name, text in secret.items():
        (tmp_path / name).write_text(text)
    git = Git(tmp_path / "own", tmp_path, Redactor())
    git.send_password_to(password_hosts(a_profile(["git.example.com"])))
    assert git.has_credentials_for(url) is known


def test_ssh_knows_nobody_but_the_hosts_of_the_secret(tmp_path: Path) -> None:
    (tmp_path / "ssh-privatekey").write_text("line\r\nline")
    assert "UserKnownHostsFile=/dev/null" in ssh_env(tmp_path, tmp_path)["GIT_SSH_COMMAND"]
    (tmp_path / "known_hosts").touch()
    command = ssh_env(tmp_path, tmp_path)["GIT_SSH_COMMAND"]
    assert f"UserKnownHostsFile={tmp_path / 'known_hosts'}" in command
    assert "StrictHostKeyChecking=yes" in command
    key = tmp_path / "ssh-key"
    assert (key.read_text(), key.stat().st_mode & 0o777) == ("line\nline\n", 0o600)


@pytest.mark.parametrize(
    ("credentials", "complaint", "cause"),
    [
        (
            Credentials.NONE,
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            "name a Secret",
        ),
        (
            Credentials.KEY,
            "fatal: could not read Username for 'https://h': terminal prompts disabled",
            "holds an ssh key",
        ),
        (
            Credentials.PASSWORD,
            "the password is not for evil.example\nfatal: could not read Username",
            "not for evil.example: the profile's git.hosts",
        ),
        (
            Credentials.PASSWORD,
            "fatal: Authentication failed for 'https://h/x/'",
            "refuses the user and password",
        ),
        (Credentials.PASSWORD, "fatal: The requested URL returned error: 403", "lack a right"),
        (
            Credentials.KEY,
            "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.",
            "another than the one in",
        ),
        (
            Credentials.KEY,
            "No ED25519 host key is known for h.\nHost key verification failed.",
            "not in the Secret's known_hosts",
        ),
        (Credentials.NONE, "Host key verification failed.", "ssh needs a key"),
        (
            Credentials.LOCKED_KEY,
            "git@h: Permission denied (publickey).",
            "passphrase, which nobody",
        ),
        (Credentials.KEY, "git@h: Permission denied (publickey).", "does not let the ssh key"),
        (
            Credentials.KEY,
            'Load key "/k": error in libcrypto\ngit@h: Permission denied (publickey).',
            "is no private key",
        ),
        (
            Credentials.NONE,
            "server certificate verification failed. CAfile: /x CRLfile: none",
            "network.caBundle",
        ),
        (Credentials.NONE, "Received HTTP code 403 from proxy after CONNECT", "network.proxy"),
    ],
)
def test_a_complaint_says_what_to_change(
    credentials: Credentials, complaint: str, cause: str
) -> None:
    said = explain(complaint, credentials)
    assert cause in said
    assert said.endswith(complaint)


def test_a_complaint_that_nobody_knows_stays_as_it_is() -> None:
    assert explain("fatal: bad thing", Credentials.NONE) == "fatal: bad thing"


@pytest.mark.parametrize("form", ["RFC4716", "PEM", "PKCS8"])
@pytest.mark.parametrize("passphrase", ["", "a passphrase"])
def test_a_key_that_a_passphrase_protects_is_told_from_others(
    tmp_path: Path, form: str, passphrase: str
) -> None:
    key = tmp_path / "key"
    made = ["ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", form, "-N", passphrase]
    subprocess.run([*made, "-f", key], check=True)
    assert has_passphrase(key.read_text(encoding="ascii")) is bool(passphrase)


def test_what_is_no_key_has_no_passphrase() -> None:
    assert not has_passphrase("-----BEGIN OPENSSH PRIVATE KEY-----\nnot base64!\n")
