"""Creates the repositories and executes lighttpd."""

import os
import subprocess
import tempfile
from pathlib import Path

from dev.git.demo import FILES

TLS_PORT = 8443
BACKEND = "/usr/lib/git-core/git-http-backend"
READ_ONLY, PROTECTED = "private/read-only.git", "private/protected.git"
REPOSITORIES = ("demo.git", "empty.git", "private/demo.git", READ_ONLY, PROTECTED)
TAKEN = "taken"
"""The branch of the protected repository that accepts pushes; it has a commit of its own."""
HOOK = f"""\
#!/bin/sh
while read -r old new ref; do
    [ "$ref" = refs/heads/{TAKEN} ] || {{ echo "$ref is protected" >&2; exit 1; }}
done
"""


def make(repository: Path, files: dict[str, str]) -> None:
    """Create a bare repository with one commit of ``files`` on ``main``; an empty one without."""
    _git("init", "--quiet", "--bare", "--initial-branch=main", str(repository))
    _git("-C", str(repository), "config", "http.receivepack", "true")
    if not files:
        return
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            file = Path(folder) / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content, encoding="utf-8")
        _git("init", "--quiet", "--initial-branch=main", folder)
        _git("-C", folder, "add", ".")
        _git("-C", folder, "commit", "--quiet", "-m", "Begin")
        _git("-C", folder, "push", "--quiet", str(repository), "main")


def protect(repository: Path) -> None:
    """Reject pushes to any branch but ``TAKEN``, and put that branch one commit ahead of main."""
    bare = ("-C", str(repository))
    commit = ("commit-tree", "main^{tree}", "-p", "main", "-m", "Be quicker")
    _git(*bare, "update-ref", f"refs/heads/{TAKEN}", _git(*bare, *commit))
    hook = repository / "hooks" / "pre-receive"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text(HOOK, encoding="utf-8")
    hook.chmod(0o755)


def configuration(root: Path, port: int, accounts: Path, tls: Path | None = None) -> str:
    """Return lighttpd's configuration; with https if ``tls`` has a key and a certificate."""
    return f"""\
server.modules = ("mod_alias", "mod_setenv", "mod_auth", "mod_authn_file", "mod_cgi")
server.document-root = "{root}"
server.port = {port}
server.upload-dirs = ("{root}")
server.errorlog = "/proc/self/fd/2"
alias.url = ("/" => "{BACKEND}/")
cgi.assign = ("" => "")
# With a user named, git allows a push; it does not ask who that is.
setenv.add-environment = (
    "GIT_PROJECT_ROOT" => "{root}", "GIT_HTTP_EXPORT_ALL" => "1", "REMOTE_USER" => "anybody"
)
auth.backend = "plain"
auth.backend.plain.userfile = "{accounts}"
$HTTP["url"] =~ "^/private/" {{
    auth.require = ("" => ("method" => "basic", "realm" => "git", "require" => "valid-user"))
}}
{_secured(tls) if tls else ""}"""


def _secured(tls: Path) -> str:
    return f"""\
server.modules += ("mod_openssl")
$SERVER["socket"] == ":{TLS_PORT}" {{
    ssl.engine = "enable"
    ssl.pemfile = "{tls / "tls.crt"}"
    ssl.privkey = "{tls / "tls.key"}"
}}
"""


def main() -> None:
    """Serve until killed."""
    root = Path(os.environ.get("GIT_ROOT", "/srv/git"))
    for name in REPOSITORIES:
        if not (root / name).exists():
            make(root / name, {} if name.startswith("empty") else FILES)
    _git("-C", str(root / READ_ONLY), "config", "http.receivepack", "false")
    protect(root / PROTECTED)
    accounts = root / "accounts"
    account = f"{os.environ['GIT_USER']}:{os.environ['GIT_PASSWORD']}\n"
    accounts.write_text(account, encoding="utf-8")
    config = root / "lighttpd.conf"
    tls = os.environ.get("GIT_TLS")
    text = configuration(root, 8080, accounts, Path(tls) if tls else None)
    config.write_text(text, encoding="utf-8")
    os.execv("/usr/sbin/lighttpd", ["lighttpd", "-D", "-f", str(config)])


def _git(*arguments: str) -> str:
    who = {"NAME": "AgentRun", "EMAIL": "demo@example.org"}
    when = {"DATE": "2026-01-01T00:00:00Z"}
    fixed = {
        f"GIT_{role}_{key}": value
        for role in ("AUTHOR", "COMMITTER")
        for key, value in (who | when).items()
    }
    done = subprocess.run(
        ["git", *arguments], check=True, env=os.environ | fixed, stdout=subprocess.PIPE, text=True
    )
    return done.stdout.strip()


if __name__ == "__main__":
    main()
