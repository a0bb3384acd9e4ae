"""A private machine to test on: network, mount, process and host name namespaces of its own, and an empty /run.

Nothing that happens in one is seen outside, and whatever runs in one ends with it, so tests run side by side.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import unified_diff
from functools import cache
from pathlib import Path
from types import TracebackType

import pytest

ROOT = Path(__file__).parents[2]
GOOD = sorted((ROOT / "tests/topologies/good").glob("*.yaml"))
SHIPPED = sorted((ROOT / "topologies").glob("*.yaml"))
FLEETING = {"service/text/main", "service/many/db", "service/many/cache"}  # of processes.yaml: they end, or never start
SCRATCH = "/run/scratch"  # the tests' own files in a machine; no part of a snapshot
# Whoever runs the tests is root in there; an ordinary user becomes that in a user namespace.
OWN = [*([] if os.geteuid() == 0 else ["--user", "--map-root-user"]), "--net", "--mount", "--uts", "--pid", "--fork"]
IDS = 200000  # the first of that user's subordinate ones
USER = 4242  # an ordinary user that no password file knows
WAYS = ["", "--isolated", "rootless"]  # to have a lab: on the machine, in a host of its own, as an ordinary user
only_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may do what this test does to a machine")
each_way = pytest.mark.parametrize("option", WAYS, ids=["shared", "isolated", "rootless"])
PATIENCE = 30.0  # seconds that any command may take

# Its first process says who it is outside, makes the machine, and then waits for the test to let go of it; as it
# ignores SIGCHLD (cat keeps that), processes that lost their parent leave no zombie.
MACHINE = """
read -r pid rest </proc/self/stat
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t tmpfs -o mode=755 tmpfs /run
mkdir /run/scratch /run/etc /run/etc/upper /run/etc/work
mknod /run/etc/upper/netns c 0 0  # a whiteout: whatever the machine's own /etc/netns has, now or later
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work overlay /etc
ip link set lo up
hostname machine
trap '' CHLD
echo "$pid"
exec cat
"""

SNAPSHOT = """
what() { echo "@ $*"; "$@" 2>/dev/null || :; }
what hostname
what cat /proc/self/mountinfo
what ip -oneline -details link
what ip -oneline address
what ip -4 route show table all
what ip -6 route show table all
what ip -4 rule
what ip -6 rule
what nft list ruleset
what grep -rs . /proc/sys/net/ipv4 /proc/sys/net/ipv6 /proc/sys/net/bridge
what find /run /etc/netns /etc/hosts /etc/hostname /etc/resolv.conf ( -path /run/scratch -o -path /run/etc ) -prune \
    -o -type f -printf '%p %M %U %s %T@\\n' -o -printf '%p %M %U %l\\n'
""".replace("( -path", "'(' -path").replace("/run/etc )", "/run/etc ')'")

# What changes without anybody's doing: a bridge's timers, an address that the kernel still tries, counted packets.
CHANGING = re.compile(
    r" \w*timer +\S+| tentative| packets \d+ bytes \d+| \[\d+:\d+\]|^# (Generated|Completed) .*", re.M
)
UNORDERED = ("grep", "find")

Snapshot = dict[str, list[str]]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    command: str
    status: int
    stdout: str
    stderr: str


class Machine:
    """One private machine, from `with` to its end."""

    def __enter__(self) -> Machine:
        command = ["unshare", *OWN, "--kill-child", "sh", "-ec", MACHINE]
        self._holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started: list[subprocess.Popen[str]] = []
        self.looks = ""  # a test's own lines for SNAPSHOT
        assert self._holder.stdout
        first = self._holder.stdout.readline()
        assert first, "the private machine could not be made"
        self.pid = int(first)
        own = ["--user", "--preserve-credentials"] if OWN[0] == "--user" else []
        self._enter = ["nsenter", "--target", first.strip(), *own, "--net", "--mount", "--uts", "--pid", "--wd=/", "--"]
        self.environment = {
            "PATH": f"{SCRATCH}:{os.path.dirname(sys.executable)}:{os.environ['PATH']}:/usr/sbin:/sbin",
            "HOME": "/root",
            "LANG": "C.UTF-8",
            "PYTHONPATH": str(ROOT),
            "TMPDIR": SCRATCH,
        }
        self.write("labctl", f'#!/bin/sh\nexec {sys.executable} -P -m labctl "$@"\n').chmod(0o755)
        self.settle()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        for process in (self._holder, *self._started):
            process.kill()
            process.communicate(timeout=PATIENCE)

    def become_user(self, more_ids: bool = True) -> None:
        """From here on `labctl`, and whatever `user` runs, is run by an ordinary user.

        That user sees this Python and this checkout, wherever they are, and nothing of root's; `more_ids` gives a range
        of subordinate ids, as Debian does to every user (useradd(8)).
        """
        if reason := no_user():
            pytest.skip(reason)
        folders = {"python": sys.base_prefix, "venv": sys.prefix, "checkout": str(ROOT)}
        for name, source in folders.items():
            self.ok(f"mkdir {SCRATCH}/{name} && mount --bind {source} {SCRATCH}/{name}")
        self.ok(f"mkdir -p /run/user/{USER}; chown {USER}:{USER} /run/user/{USER}; chmod 700 /run/user/{USER}")
        self.ok(f"echo user:x:{USER}:{USER}::/tmp:/bin/sh >>/etc/passwd")
        self.ok(f"for kind in uid gid; do echo '{f'user:{IDS}:65536' * more_ids}' >/etc/sub$kind; done")
        packages = Path(next(path for path in sys.path if path.endswith("site-packages")))
        own = {
            "PATH": f"{SCRATCH}/python/bin:/usr/bin:/bin",
            "PYTHONPATH": f"{SCRATCH}/checkout:{SCRATCH}/venv/{packages.relative_to(sys.prefix)}",
            "XDG_RUNTIME_DIR": f"/run/user/{USER}",
            "HOME": "/tmp",
            "LANG": "C.UTF-8",
        }
        words = [f"{name}={value}" for name, value in own.items()]
        setpriv = f"setpriv --reuid {USER} --regid {USER} --clear-groups"
        self.write("user", f'#!/bin/sh\nexec env -i {" ".join(words)} {setpriv} "$@"\n').chmod(0o755)
        self.write("labctl", '#!/bin/sh\nexec user python3 -P -m labctl "$@"\n').chmod(0o755)
        self.settle()

    def path(self, path: str) -> Path:
        """A path of the machine's as this process sees it. Does not follow absolute symbolic links."""
        return Path(f"/proc/{self.pid}/root{path}")

    def write(self, name: str, text: str) -> Path:
        """A file of the test's own, SCRATCH/<name> in the machine."""
        path = self.path(f"{SCRATCH}/{name}")
        path.write_text(text)
        return path

    def topology(self, name: str, text: str) -> str:
        """A topology file of the test's own; answers its path in the machine."""
        self.write(f"{name}.yaml", text)
        return f"{SCRATCH}/{name}.yaml"

    def start(self, command: str) -> subprocess.Popen[str]:
        """A shell command in the background, in a process group of its own."""
        running = subprocess.Popen(
            [*self._enter, "sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=self.environment,
            start_new_session=True,
        )
        self._started.append(running)
        return running

    def run(self, command: str, text: str = "", patience: float = PATIENCE) -> Done:
        """A shell command; `text` is its standard input. Whatever its exit status, it is answered."""
        running = self.start(command)
        try:
            stdout, stderr = running.communicate(text, timeout=patience)
        except subprocess.TimeoutExpired:
            os.killpg(running.pid, signal.SIGKILL)
            running.communicate()
            pytest.fail(f"{command}: still running after {patience} s")
        return Done(command, running.returncode, stdout, stderr)

    def ok(self, command: str, text: str = "", patience: float = PATIENCE) -> str:
        """What a shell command that must succeed prints."""
        done = self.run(command, text, patience)
        assert done.status == 0, f"{command}: exit status {done.status}\n{done.stdout}{done.stderr}"
        return done.stdout

    def script(self, name: str, arguments: str, patience: float = PATIENCE) -> str:
        """What a Python script of this folder prints, run by whoever runs labctl; it must succeed."""
        python = f"user env PATH={SCRATCH}/python/bin:{os.environ['PATH']} python3" if self.by_user else sys.executable
        return self.ok(f"{python} {self.seen(Path(__file__).with_name(name))} {arguments}", patience=patience)

    @property
    def by_user(self) -> bool:
        return self.path(f"{SCRATCH}/user").exists()

    def seen(self, file: str | Path) -> str:
        """A file of the checkout, as whoever runs labctl sees it."""
        return str(file).replace(str(ROOT), f"{SCRATCH}/checkout") if self.by_user else str(file)

    def inside(self, node: str, command: str) -> str:
        """What a command in a node of the only lab prints; it must succeed."""
        return self.ok(f"labctl exec {node} -- {command}")

    def up(self, file: str | Path, options: str = "") -> str:
        """The story of an `up` that must succeed; `rootless` makes it an ordinary user's."""
        if options == "rootless":
            self.become_user()
            options = ""
        done = self.run(f"labctl up {self.seen(file)} {options}")
        assert done.status == 0, done.stderr
        return done.stderr

    def observe(self, arguments: str) -> dict[str, dict[str, str]]:
        """What observer.py, run in the machine, sees: several states, without the services that soon end."""
        states = json.loads(self.script("observer.py", arguments))
        return {
            name: {key: item for key, item in state.items() if key not in FLEETING} for name, state in states.items()
        }

    def processes(self) -> list[str]:
        """Every process but the machine's first: its network namespace and its command line."""
        return sorted(f"{network} {command}" for _, network, command in self._processes())

    def pids(self, command: str) -> list[int]:
        """The processes with this command line, by their numbers outside the machine."""
        return [pid for pid, _, line in self._processes() if line.strip() == command]

    def _processes(self) -> Iterator[tuple[int, str, str]]:
        mine = os.readlink(f"/proc/{self.pid}/ns/pid")
        for pid in (int(name) for name in os.listdir("/proc") if name.isdigit()):
            try:
                if pid != self.pid and os.readlink(f"/proc/{pid}/ns/pid") == mine:
                    command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                    yield pid, os.readlink(f"/proc/{pid}/ns/net"), command
            except OSError:
                continue  # ended meanwhile

    def snapshot(self) -> Snapshot:
        """Everything a lab could leave behind."""
        found: Snapshot = {}
        for part in self.ok(SNAPSHOT + self.looks).split("@ ")[1:]:
            title, *lines = CHANGING.sub("", part).splitlines()
            found[title] = sorted(lines) if title.startswith(UNORDERED) else lines
        return found | {"processes": self.processes()}

    def settle(self) -> None:
        """What there is now is not the lab's: it has to be there at the end too, and unchanged."""
        self.before = self.snapshot()
        self.peers = self.ok("ip netns list-id")

    @contextmanager
    def untouched(self) -> Iterator[None]:
        before = self.snapshot()
        yield
        assert changes(before, self.snapshot()) == []

    def prove_clean(self) -> None:
        """Takes down what is still up, then compares with what there was before."""
        self.ok("labctl down --all")
        assert changes(self.before, self.snapshot()) == []
        wait_until(lambda: self.ok("ip netns list-id") == self.peers)  # a namespace goes a moment after its last user


def changes(before: Snapshot, after: Snapshot) -> list[str]:
    """The lines that came (+) and went (-)."""
    return [
        f"{what}: {line}"
        for what in before
        if before[what] != after[what]
        for line in list(unified_diff(before[what], after[what], lineterm="", n=0))[2:]
        if not line.startswith("@@")
    ]


def wait_until(condition: Callable[[], object], seconds: float = 10.0) -> None:
    """Fails when a condition has not come true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail(f"has not come true in {seconds} s")
        time.sleep(0.02)


def needs(*tools: str) -> pytest.MarkDecorator:
    missing = [tool for tool in tools if not shutil.which(tool)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


TRIALS = {
    "network, mount, process and host name namespaces": "true",
    "overlay file systems": "mount -t tmpfs tmpfs /run && mkdir /run/u /run/w"
    " && mount -t overlay -o lowerdir=/etc,upperdir=/run/u,workdir=/run/w overlay /etc",
    "veth interfaces": "ip link add left type veth peer name right",
    "bridges": "ip link add name bridge0 type bridge",
    "nftables with NAT": "nft 'table ip t { chain c { type nat hook postrouting priority 100; masquerade; }; }'",
}


@cache
def no_user() -> str:
    """Why no ordinary user can have a lab here; empty when one can."""
    if os.geteuid() != 0:
        return "only root can become another user"
    for tool in ("setpriv", "newuidmap"):
        if not shutil.which(tool):
            return f"not installed: {tool}"
    trial = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups", "unshare", "--user", "--map-root-user"]
    refused = subprocess.run([*trial, "--mount", "--net", "true"], capture_output=True, text=True, check=False)
    return f"user namespaces are refused to ordinary users: {refused.stderr.strip()}" if refused.returncode else ""


@cache
def obstacle() -> str:
    """Why no lab can be built here; empty when one can."""
    for tool in ("unshare", "nsenter", "ip", "nft"):
        if not shutil.which(tool):
            return f"not installed: {tool}"
    for feature, trial in TRIALS.items():
        command = ["unshare", *OWN, "sh", "-c", trial]
        if subprocess.run(command, capture_output=True, check=False).returncode:
            who = "root" if os.geteuid() == 0 else "an ordinary user"
            return f"this machine has no {feature} for {who}"
    return ""
