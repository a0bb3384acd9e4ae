"""Gathers what doctor.py judges. Reads only, and takes the absence of anything for an answer.

Whatever has to be tried is tried in trial.py's child process. Nobody is asked over D-Bus: services are found by their
processes, their settings in their files.
"""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version

from labctl.doctor import PACKAGES
from labctl.facts import Facts, Kernel, Privileges, Tools, UserNamespaces
from labctl.linux.readings import number, output, text
from labctl.linux.surroundings import host
from labctl.linux.trial import EXTRAS, Trial, trial

CAPABILITIES = {12: "CAP_NET_ADMIN", 21: "CAP_SYS_ADMIN"}  # linux/capability.h


def probe() -> Facts:
    root = os.geteuid() == 0
    tried = trial(root, _harmless())
    users = user_namespaces()
    return Facts(_privileges(users, tried), _kernel(users, tried), _tools(), host(root))


def user_namespaces() -> UserNamespaces:
    """What decides whether this user may make a user namespace: a few files."""
    return UserNamespaces(
        known=os.path.exists("/proc/self/ns/user"),
        maximum=number("user.max_user_namespaces"),
        clone=number("kernel.unprivileged_userns_clone"),
        apparmor=number("kernel.apparmor_restrict_unprivileged_userns"),
        in_container=_in_container(),
        in_chroot=_in_chroot(),
        python=os.path.realpath(sys.executable),
    )


def _in_container() -> bool:
    """By the marks that Docker, Podman, systemd-nspawn, LXC and Kubernetes leave."""
    marks = ("/.dockerenv", "/run/.containerenv", "/run/systemd/container")
    groups = ("docker", "kubepods", "libpod", "/lxc")
    return (
        any(map(os.path.exists, marks))
        or "container=" in text("/proc/1/environ")
        or any(word in text("/proc/1/cgroup") for word in groups)
    )


def _in_chroot() -> bool:
    try:
        return not os.path.samestat(os.stat("/proc/1/root"), os.stat("/"))
    except OSError:  # not allowed to look: in a chroot the root is usually no mount
        mounts = [line.split()[4] for line in text("/proc/self/mountinfo").splitlines()]
        return bool(mounts) and "/" not in mounts


def _privileges(users: UserNamespaces, tried: Trial) -> Privileges:
    uid = os.geteuid()
    try:
        user = pwd.getpwuid(uid).pw_name
    except KeyError:
        user = str(uid)
    return Privileges(user, uid, tuple(_missing_capabilities()), users, tried.user, _has_ids(user, uid))


def _missing_capabilities() -> Iterator[str]:
    words = text("/proc/self/status").partition("CapEff:")[2].split()
    bits = int(words[0], 16) if words else -1
    return (name for bit, name in CAPABILITIES.items() if not bits >> bit & 1)


def _has_ids(user: str, uid: int) -> bool:
    lists = [text(path).splitlines() for path in ("/etc/subuid", "/etc/subgid")]
    ranges = all(any(line.split(":")[0] in (user, str(uid)) for line in lines) for lines in lists)
    return ranges and all(shutil.which(tool) for tool in ("newuidmap", "newgidmap"))


def _kernel(users: UserNamespaces, tried: Trial) -> Kernel:
    return Kernel(
        platform.release(),
        tried.done,
        tried.refused,
        tried.absent,
        number("user.max_net_namespaces"),
        _read_only("/proc/sys/net"),
        users.in_container,
    )


def _harmless() -> list[str]:
    """The extras that can be tried without loading a module, which could be felt: 8021q touches every network card."""
    listed = _modules()
    fixed = not os.path.exists("/proc/modules") or number("kernel.modules_disabled") == 1
    return [name for name, it in EXTRAS.items() if fixed or _loaded(it) or (listed and it not in listed)]


def _loaded(module: str) -> bool:
    return os.path.exists(f"/sys/module/{module}")


def _modules() -> frozenset[str]:
    """Loadable ones of the running kernel; none where its modules are not at hand, as in a container."""
    lines = text(f"/lib/modules/{platform.release()}/modules.dep").splitlines()
    return frozenset(line.split(":")[0].rpartition("/")[2].partition(".ko")[0].replace("-", "_") for line in lines)


def _read_only(path: str) -> bool:
    try:
        return bool(os.statvfs(path).f_flag & os.ST_RDONLY)
    except OSError:
        return False


def _tools() -> Tools:
    return Tools(
        platform.python_version(),
        _package("pyroute2"),
        _nft_version() if shutil.which("nft") else "",
        tuple(tool for tool in PACKAGES if not shutil.which(tool)),
    )


def _package(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""


def _nft_version() -> str:
    """`nftables v1.0.6 (Lester Gooch #5)`"""
    words = (output("nft", "--version") or "").split()
    return words[1].removeprefix("v") if len(words) > 1 else "of an unknown version"
