"""
The same repositories over ssh: OpenSSH's server without root, on a high port.

Only the holders of authorized keys can connect, to fetch and push and nothing else. A server
without root only accepts the user it runs as, so clients use that name.
"""

import os
import shutil
import tempfile
from pathlib import Path

PORT = 2222


def configuration(folder: Path) -> str:
    """Return sshd's configuration, with the keys in ``folder``."""
    return f"""\
Port {PORT}
HostKey {folder}/host-key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
DisableForwarding yes
PermitTTY no
ForceCommand exec git-shell -c "$SSH_ORIGINAL_COMMAND"
"""


def main() -> None:
    """Serve until killed, with the keys in the folder that SSH_KEYS names."""
    folder = Path(tempfile.mkdtemp())
    for key in Path(os.environ["SSH_KEYS"]).glob("[!.]*"):
        # sshd rejects keys that others can read, as those of a mounted Secret.
        shutil.copyfile(key, folder / key.name)
        (folder / key.name).chmod(0o600)
    config = folder / "sshd_config"
    config.write_text(configuration(folder), encoding="utf-8")
    os.execv("/usr/sbin/sshd", ["/usr/sbin/sshd", "-D", "-e", "-f", str(config)])


if __name__ == "__main__":
    main()
