"""Takes rights away from the worker before it looks at the file. Only tightens; nothing here can be undone.

Limits of memory, time and files (setrlimit), no new privileges, death together with the parent (prctl), and on
kernels that have it Landlock: the file that is read and the folder that is written are the only ones in reach,
apart from the Python installation itself, and no TCP connection can be made.
"""

import ctypes
import os
import platform
import resource
import signal
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

import digm
import hub
from hub.media.model import IngestLimits

# linux/prctl.h
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
# linux/landlock.h; the system call numbers are the same on every architecture.
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1
_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_FILE, _MAKE_REG = 1 << 5, 1 << 8
_ALL_FILE_RIGHTS_ABI_1 = (1 << 13) - 1
_REFER_ABI_2, _TRUNCATE_ABI_3 = 1 << 13, 1 << 14
_TCP_BIND_AND_CONNECT_ABI_4 = 3
_READ = _READ_FILE | _READ_DIR
_WRITE = _READ | _WRITE_FILE | _REMOVE_FILE | _MAKE_REG


def limit_resources(limits: IngestLimits) -> None:
    """Bound what this process may take; a limit that is already lower stays."""
    wanted = {
        resource.RLIMIT_AS: limits.memory_bytes,
        resource.RLIMIT_FSIZE: limits.output_bytes,
        resource.RLIMIT_NOFILE: limits.open_files,
        resource.RLIMIT_CORE: 0,
    }
    for kind, value in wanted.items():
        lowest = _at_most(kind, value)
        resource.setrlimit(kind, (lowest, lowest))
    # The soft limit sends SIGXCPU, which tells why the worker ended; the hard one SIGKILL, which does not.
    soft, hard = (_at_most(resource.RLIMIT_CPU, limits.cpu_s + grace_s) for grace_s in (0, 1))
    resource.setrlimit(resource.RLIMIT_CPU, (soft, hard))


def _at_most(kind: int, value: int) -> int:
    _, hard = resource.getrlimit(kind)
    return value if hard == resource.RLIM_INFINITY else min(value, hard)


def die_with_parent(parent_pid: int) -> None:
    """Be killed when the parent ends, and give up the way to more privileges. Linux only; elsewhere a no-op."""
    if platform.system() != "Linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    # The parent may have gone before the line above.
    if os.getppid() != parent_pid:
        os.kill(os.getpid(), signal.SIGKILL)


def _handled_rights(abi: int) -> int:
    rights = _ALL_FILE_RIGHTS_ABI_1
    rights |= _REFER_ABI_2 if abi >= 2 else 0
    return rights | (_TRUNCATE_ABI_3 if abi >= 3 else 0)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    if not path.exists():
        return
    if not path.is_dir():
        rights &= ~(_READ_DIR | _REMOVE_FILE | _MAKE_REG)
    opened = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        libc.syscall(_ADD_RULE, ruleset, _RULE_PATH_BENEATH, struct.pack("=Qi", rights, opened), 0)
    finally:
        os.close(opened)


def confine_files(readable: Iterable[Path], writable: Path) -> bool:
    """Let this thread and those it starts reach only these files and the Python installation.

    Returns:
        Whether the kernel can do that (Landlock, Linux 5.13); the other limits hold in any case.
    """
    if platform.system() != "Linux":
        return False
    libc = ctypes.CDLL(None, use_errno=True)
    abi = libc.syscall(_CREATE_RULESET, None, 0, _CREATE_RULESET_VERSION)
    if abi < 1:
        return False
    handled = _handled_rights(abi)
    attributes = struct.pack("=QQ", handled, _TCP_BIND_AND_CONNECT_ABI_4)[: 16 if abi >= 4 else 8]
    ruleset = libc.syscall(_CREATE_RULESET, attributes, len(attributes), 0)
    if ruleset < 0:
        return False
    try:
        # Not sys.path: a checkout is on it as a whole, with whatever else lies there.
        packages = (Path(module.__file__).parent for module in (os, digm, hub) if module.__file__)
        for folder in (Path(sys.prefix), Path(sys.base_prefix), *packages):
            _allow(libc, ruleset, folder, _READ)
        for path in readable:
            _allow(libc, ruleset, path, _READ)
        _allow(libc, ruleset, writable, (_WRITE | _TRUNCATE_ABI_3) & handled)
        return bool(libc.syscall(_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)
