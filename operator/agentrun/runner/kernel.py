"""
System calls that Python's library has no functions for: openat2, and those of Landlock.

ctypes is imported with the first of these calls: a runner starts without it.
"""

import errno
import logging
import os
import stat
from collections.abc import Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

log = logging.getLogger(__name__)

# The same on all architectures: these calls are newer than the common numbering.
_OPENAT2, _CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 437, 444, 445, 446
_NO_MAGICLINKS, _NO_SYMLINKS, _BENEATH = 0x02, 0x04, 0x08
_NOT_THERE = (errno.ENOSYS, errno.EPERM, errno.EINVAL, errno.E2BIG, errno.EAGAIN)
"""The call is missing, forbidden by seccomp, or (EAGAIN) raced with a rename elsewhere."""

_VERSION_FLAG = 1
_PATH_BENEATH = 1
_SET_NO_NEW_PRIVILEGES = 38
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1, 2, 4, 8
_CHANGES = sum(1 << bit for bit in range(4, 13))
"""Creating and removing the entries of a folder."""
_REFER, _TRUNCATE = 1 << 13, 1 << 14
_READ = _EXECUTE | _READ_FILE | _READ_DIR
_OF_FILES = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE
_TCP, _SCOPES = 3, 3


def open_beneath(folder: int, path: str, flags: int) -> int | None:
    """Open ``path`` below a folder, without following links; None if the kernel cannot check it."""
    import ctypes

    name = os.fsencode(path)
    how = (ctypes.c_uint64 * 3)(flags, 0, _BENEATH | _NO_SYMLINKS | _NO_MAGICLINKS)
    try:
        return _call(_OPENAT2, folder, name, ctypes.byref(how), ctypes.sizeof(how))
    except OSError as error:
        if error.errno in _NOT_THERE:
            return None
        raise OSError(error.errno, error.strerror, path) from None


@cache
def landlock_version() -> int:
    """Return the kernel's Landlock ABI version; 0 if it has none, which is logged once."""
    try:
        return _call(_CREATE_RULESET, None, 0, _VERSION_FLAG)
    except OSError as error:
        log.warning(
            "The node's kernel has no Landlock (%s): it does not restrict git and the packer to"
            " their folders. The other protections of the credentials are in place.",
            error.strerror,
        )
        return 0


def confine_thread(
    reads: Sequence[Path], writes: Sequence[Path], runs: Sequence[Path], has_network: bool
) -> None:
    """
    Deny the calling thread, and its child processes, access to all other folders, irrevocably.

    ``runs`` are folders of programs: nothing else can be executed. Does nothing where the kernel
    has no Landlock.
    """
    import ctypes

    version = landlock_version()
    if not version:
        return
    handled = _READ | _WRITE_FILE | _CHANGES
    handled |= _REFER if version >= 2 else 0
    handled |= _TRUNCATE if version >= 3 else 0
    network = 0 if has_network else _TCP
    fields = [handled, *([network] if version >= 4 else []), *([_SCOPES] if version >= 6 else [])]
    attributes = (ctypes.c_uint64 * len(fields))(*fields)
    rules = _call(_CREATE_RULESET, ctypes.byref(attributes), ctypes.sizeof(attributes), 0)
    try:
        granted = ((reads, _READ & ~_EXECUTE), (writes, handled & ~_EXECUTE), (runs, _READ))
        for paths, rights in granted:
            for path in paths:
                with suppress(FileNotFoundError, NotADirectoryError, PermissionError):
                    _allow(rules, path, rights)
        _no_new_privileges()
        _call(_RESTRICT_SELF, rules, 0)
    finally:
        os.close(rules)


def _allow(rules: int, path: Path, rights: int) -> None:
    import struct

    descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(descriptor).st_mode):
            rights &= _OF_FILES
        _call(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0)
    finally:
        os.close(descriptor)


def _no_new_privileges() -> None:
    import ctypes

    if _libc().prctl(_SET_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


def _call(number: int, *args: Any) -> int:
    import ctypes

    arguments = [ctypes.c_long(one) if isinstance(one, int) else one for one in args]
    result: int = _libc().syscall(ctypes.c_long(number), *arguments)
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


@cache
def _libc() -> Any:
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    libc.syscall.restype = ctypes.c_long
    return libc
