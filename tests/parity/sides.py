"""The two sides: a machine with a Docker engine, one with labctl, and the same LAN beyond both.

The LAN is that of kernel/lan.py. `fresh` is a network namespace that nobody has touched. In every place an agent
(agent.py) waits for questions.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from kernel import engine, lan
from kernel.machine import Machine

from benchmarks import docker
from parity.agent import DOMAIN, PLAIN
from parity.compose import Compose, Service, docker_commands, labctl_topology

AGENT = Path(__file__).with_name("agent.py")
GROUND = f"""{lan.SETUP}
ip netns add fresh
hostname >/etc/hostname
printf '127.0.0.1\\tlocalhost\\n' >/etc/hosts
printf "nameserver 192.0.2.2\\noptions timeout:1 attempts:1\\n" >/etc/resolv.conf
"""
OPTIONS = "--experimental --ip6tables"  # what became the default in Docker 27
SLEEP = "/bin/busybox sleep 1000000"
PATIENCE = 20.0  # seconds


class Agent:
    """A place of a network, and what is asked there."""

    def __init__(self, machine: Machine, name: str, entry: str, ports: Mapping[str, set[int]]) -> None:
        numbers = [",".join(map(str, sorted(ports[protocol]))) for protocol in ("tcp", "udp")]
        words = f"exec {entry} {sys.executable} -P {AGENT} {name} '{numbers[0]}' '{numbers[1]}'"
        self.process: subprocess.Popen[str] = machine.start(words)

    def tell(self, job: Mapping[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(job) + "\n")
        self.process.stdin.flush()

    def hear(self) -> Any:
        assert self.process.stdout
        line = self.process.stdout.readline()
        assert line, self.process.communicate(timeout=PATIENCE)[1]
        return json.loads(line)

    def ask(self, job: Mapping[str, Any]) -> Any:
        self.tell(job)
        return self.hear()

    def end(self) -> None:
        self.process.communicate(timeout=PATIENCE)


class Side:
    """One machine and what is up there."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self.agents: dict[str, Agent] = {}

    def start(self, compose: Compose) -> None:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def entry(self, service: str) -> str:
        """The words that run a command in a service, with its files."""
        raise NotImplementedError

    def device(self, network: str) -> str:
        """The bridge of a network; `docker0` is one too."""
        return network

    @contextmanager
    def up(self, compose: Compose) -> Iterator[None]:
        """The file's network, with an agent in every place."""
        try:
            self.start(compose)
            entries = {"host": "", "client": "ip netns exec client", "fresh": "ip netns exec fresh"}
            entries |= {service.name: self.entry(service.name) for service in compose.services}
            for place, entry in entries.items():
                self.agents[place] = Agent(self.machine, place, entry, ports(compose, place))
            for agent in self.agents.values():
                agent.hear()
            yield
        finally:
            for agent in self.agents.values():
                agent.end()
            self.agents.clear()
            self.stop()

    def ask(self, jobs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
        """Asks in several places at once."""
        for place, job in jobs.items():
            self.agents[place].tell(job)
        return {place: self.agents[place].hear() for place in jobs}


def ports(compose: Compose, place: str) -> dict[str, set[int]]:
    """Where the server of a place listens; none where another one has the same network."""
    servers = compose.servers | dict.fromkeys(("host", "client"))
    if place not in servers:
        return {"tcp": set(), "udp": set()}
    found = {"tcp": {PLAIN}, "udp": {PLAIN, DOMAIN} if place == "client" else {PLAIN}}
    for port in published(servers[place]):
        found[port[0]].add(port[2])
    return found


def published(service: Service | None) -> list[tuple[str, int, int]]:
    """Protocol, host port and container port of all that a service publishes."""
    if service is None:
        return []
    return [(port.protocol, *pair) for port in service.ports for pair in port.pairs]


class Docker(Side):
    def start(self, compose: Compose) -> None:
        commands = [command.replace("IMAGE", f"{docker.IMAGE} {SLEEP}") for command in docker_commands(compose)]
        self.machine.ok("set -e\n" + "\n".join(commands))
        services = " ".join(service.name for service in compose.services)
        networks = " ".join(["bridge", *(network.name for network in compose.networks)])
        self.containers = {
            each["Name"].removeprefix("/"): each for each in json.loads(self.machine.ok(f"docker inspect {services}"))
        }
        found = json.loads(self.machine.ok(f"docker network inspect {networks}"))
        self.devices = {each["Name"]: f"br-{each['Id'][:12]}" for each in found} | {"docker0": "docker0"}

    def stop(self) -> None:
        self.machine.ok("docker ps --all --quiet | xargs --no-run-if-empty docker rm --force")
        self.machine.ok("docker network prune --force")
        # Docker leaves it on.
        self.machine.ok("sysctl -qw net.ipv6.conf.all.forwarding=0 net.ipv6.conf.default.forwarding=0")

    def entry(self, service: str) -> str:
        """Into the container's network and host name, with its files in the place of the machine's."""
        found = self.containers[service]
        files = {"HostsPath": "/etc/hosts", "ResolvConfPath": "/etc/resolv.conf", "HostnamePath": "/etc/hostname"}
        mounts = "; ".join(f"mount --bind {found[key]} {file}" for key, file in files.items() if found[key])
        inside = f"nsenter --target {found['State']['Pid']} --net --uts"
        return f"""{inside} unshare --mount sh -ec '{mounts}; exec "$@"' sh"""

    def device(self, network: str) -> str:
        return self.devices[network]


class Labctl(Side):
    def start(self, compose: Compose) -> None:
        self.machine.up(self.machine.topology("lab", labctl_topology(compose)))

    def stop(self) -> None:
        self.machine.prove_clean()

    def entry(self, service: str) -> str:
        return f"labctl exec {service} --"


@contextmanager
def both() -> Iterator[tuple[Docker, Labctl]]:
    """Skips the test where a Docker engine cannot run."""
    with ExitStack() as stack:
        yield Docker(stack.enter_context(engine.engine_machine(GROUND, OPTIONS))), Labctl(stack.enter_context(ground()))


@contextmanager
def ground() -> Iterator[Machine]:
    with Machine() as machine:
        machine.ok(GROUND)
        machine.settle()
        yield machine
