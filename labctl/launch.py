"""Services as the shell a person would type: how one is started, waited for and ended. Pure; a part of shell.py."""

from __future__ import annotations

import re
import shlex
from collections.abc import Collection, Iterable, Iterator

from labctl.state import SERVICE, Service

AGAIN = {  # what runs a command over and over; labctl itself waits longer each time
    "always": 'while :; do "$@"; sleep 1; done',
    "unless-stopped": 'while :; do "$@"; sleep 1; done',
    "on-failure": 'until "$@"; do sleep 1; done',
}


NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")  # what a shell takes for a variable's name
ALL_PIDS = "$(ls /proc | grep '^[0-9]')"


def start(service: Service, netns: str) -> Iterator[str]:
    """The lines that start it in the background, and wait until it is ready."""
    inside = f"{_inside(netns)}{_as_user(service.user, dict(service.environment))}"
    variables = _variables(service.environment)
    folder = f" && cd {shlex.quote(service.working_dir)}" if service.working_dir else ""
    command = f"{variables}setsid {inside}{_again(service.restart)}{shlex.join(service.command)}"
    yield f'(cd "$(mktemp -d)"{folder} && {command}) </dev/null >/dev/null 2>&1 &'
    if service.ready:
        yield f"timeout {service.ready_timeout} sh -c {shlex.quote(_until_ready(service, netns, variables + inside))}"


def end(service: Service, netns: str) -> str:
    mark = f"{SERVICE}={dict(service.environment)[SERVICE]}"
    return kill(f"$(ip netns pids {shlex.quote(netns)})" if netns else ALL_PIDS, mark)


def kill(pids: str, mark: str) -> str:
    """Ends those processes that have a mark in their environment."""
    return f"for pid in {pids}; do grep -qzFx {shlex.quote(mark)} /proc/$pid/environ && kill $pid; done || :"


def _inside(netns: str) -> str:
    """Nothing for the machine's own namespace."""
    return f"ip netns exec {shlex.quote(netns)} " if netns else ""


def _variables(environment: Iterable[tuple[str, str]]) -> str:
    """Assignments before a command; env(1) takes names, too, that the shell would not."""
    plain = "".join(f"{name}={shlex.quote(value)} " for name, value in environment if NAME.fullmatch(name))
    others = [f"{name}={value}" for name, value in environment if not NAME.fullmatch(name)]
    return plain + (f"env -- {shlex.join(others)} " if others else "")


def _as_user(user: str, given: Collection[str]) -> str:
    """`given` are variables that are not the user's to say."""
    name, colon, group = user.partition(":")
    if not user:
        return ""
    primary = shlex.quote(group) if colon else f'"$(id -g {shlex.quote(name)} || echo 0)"'
    others = "--clear-groups" if colon or name.isdigit() else "--init-groups"
    home = f'"$(getent passwd {shlex.quote(name)} | cut -d: -f6)"'
    values = {"HOME": home, "USER": shlex.quote(name), "LOGNAME": shlex.quote(name)}
    own = "".join(f"{variable}={value} " for variable, value in values.items() if variable not in given)
    return f"env {own}setpriv --reuid={shlex.quote(name)} --regid={primary} {others} "


def _again(restart: str) -> str:
    if restart == "no":
        return ""
    policy, _, times = restart.partition(":")
    script = f'n=0; until "$@" || [ $((n += 1)) -gt {times} ]; do sleep 1; done' if times else AGAIN[policy]
    return f"sh -c {shlex.quote(script)} sh "


def _until_ready(service: Service, netns: str, inside: str) -> str:
    if isinstance(service.ready, str):
        protocol, port = service.ready.split()
        listening = f"{_inside(netns)}ss -Hln{protocol[0]} 'sport = :{port}'"
        return f"until {listening} | grep -q .; do sleep 0.1; done"
    return f"until {inside}{shlex.join(service.ready)} >/dev/null 2>&1; do sleep 0.1; done"
