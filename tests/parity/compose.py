"""Compose files, as far as they speak of networks: read once, then given to a Docker engine and to labctl."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FOLDER = Path(__file__).with_name("compose")
DEFAULT = "lab_default"  # the network of services that name none: Compose puts the project's name before it
# What a fresh engine takes for networks without a subnet, in order; one that is not fresh goes on where it was.
POOLS = [f"172.{number}.0.0/16" for number in range(18, 32)]
DRIVER = "com.docker.network."


@dataclass(frozen=True)
class Network:
    name: str
    subnets: tuple[str, ...]
    gateways: tuple[str, ...]
    ip_range: str
    internal: bool
    options: Mapping[str, str]  # Docker's driver_opts

    @property
    def ipv6(self) -> bool:
        return any(":" in subnet for subnet in self.subnets)


@dataclass(frozen=True)
class Port:
    """A published port, or a range of them."""

    target: str
    published: str  # empty: Docker chooses
    host_ip: str
    protocol: str

    @property
    def short(self) -> str:
        """As `docker run --publish` takes it."""
        address = f"[{self.host_ip}]" if ":" in self.host_ip else self.host_ip
        return f"{address + ':' if address else ''}{self.published}:{self.target}/{self.protocol}"

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Host port and container port of each."""
        published, target = (self._numbers(ports) for ports in (self.published, self.target))
        return list(zip(published, target, strict=True))

    def _numbers(self, ports: str) -> list[int]:
        first, _, last = ports.partition("-")
        return list(range(int(first), int(last or first) + 1))


@dataclass(frozen=True)
class Service:
    name: str
    networks: Mapping[str, Mapping[str, Any]]  # Compose's own words of each; empty if `mode` says something else
    mode: str  # Compose's network_mode
    ports: tuple[Port, ...]
    settings: Mapping[str, Any]  # those that say nothing of networks: hostname, extra_hosts, dns, …


@dataclass(frozen=True)
class Compose:
    name: str
    networks: tuple[Network, ...]
    services: tuple[Service, ...]

    @property
    def servers(self) -> dict[str, Service]:
        """The service whose server answers in each network namespace that is not the host's."""
        return {each.name: each for each in self.services if not each.mode.startswith(("service:", "host"))}


def load(file: Path) -> Compose:
    document = yaml.safe_load(file.read_text())
    services = tuple(_service(name, words or {}) for name, words in document["services"].items())
    networks: dict[str, Any] = {DEFAULT: {}} if any(DEFAULT in each.networks for each in services) else {}
    networks |= document.get("networks") or {}
    free = iter(POOLS)
    return Compose(file.stem, tuple(_network(name, words or {}, free) for name, words in networks.items()), services)


def _network(name: str, words: dict[str, Any], free: Iterator[str]) -> Network:
    pools = words.get("ipam", {}).get("config", [])
    return Network(
        name=name,
        subnets=tuple(pool["subnet"] for pool in pools) or (next(free),),
        gateways=tuple(pool["gateway"] for pool in pools if "gateway" in pool),
        ip_range=next((pool["ip_range"] for pool in pools if "ip_range" in pool), ""),
        internal=words.get("internal", False),
        options=words.get("driver_opts", {}),
    )


def _service(name: str, words: dict[str, Any]) -> Service:
    mode = words.get("network_mode", "")
    networks = words.get("networks", [] if mode else [DEFAULT])
    if not isinstance(networks, dict):
        networks = dict.fromkeys(networks)
    return Service(
        name=name,
        networks={network: settings or {} for network, settings in networks.items()},
        mode=mode,
        ports=tuple(map(_port, words.get("ports", []))),
        settings={key: value for key, value in words.items() if key not in {"networks", "network_mode", "ports"}},
    )


def _port(words: str | dict[str, Any]) -> Port:
    """Compose's long form as it is, its short form [HOST_IP:]PUBLISHED:TARGET[/PROTOCOL] taken apart."""
    if isinstance(words, dict):
        text = {key: str(words.get(key, "")) for key in ("target", "published", "host_ip")}
        return Port(**text, protocol=words.get("protocol", "tcp"))
    ports, _, protocol = words.partition("/")
    address, published, target = ["", "", *ports.rsplit(":", 2)][-3:]
    return Port(target, published, address.strip("[]"), protocol or "tcp")


# What each side is told.


def docker_commands(compose: Compose) -> list[str]:
    """Networks and containers in the file's order; a container's networks too, one after the other once it runs."""
    commands = [_create(network) for network in compose.networks]
    for service in compose.services:
        [first, *others] = service.networks.items() if service.networks else [(_docker_mode(service.mode), None)]
        words = ["docker create --name", service.name, *_endpoint(first, "network-"), *_settings(service)]
        commands.append(" ".join([*words, "IMAGE"]))
        commands.append(f"docker start {service.name}")
        commands += [
            " ".join(["docker network connect", *_endpoint((network, words), "")[2:], network, service.name])
            for network, words in others
        ]
    return commands


def _create(network: Network) -> str:
    words = ["docker network create", *["--ipv6"] * network.ipv6, *["--internal"] * network.internal]
    words += [f"--subnet {subnet}" for subnet in network.subnets]
    words += [f"--gateway {gateway}" for gateway in network.gateways]
    words += [f"--ip-range {network.ip_range}"] * bool(network.ip_range)
    return " ".join([*words, *(f"--opt {key}={value}" for key, value in network.options.items()), network.name])


def _docker_mode(mode: str) -> str:
    return mode.replace("service:", "container:")


def _endpoint(attached: tuple[str, Mapping[str, Any] | None], prefix: str) -> list[str]:
    """The options of `docker create`, and after the first two of `docker network connect`, about one network."""
    network, words = attached
    options = ["--network", network]
    if words is None:
        return options
    options += [f"--{prefix}alias {alias}" for alias in words.get("aliases", [])]
    known = {"ipv4_address": "ip", "ipv6_address": "ip6", "mac_address": "mac-address"}
    return options + [f"--{option} {words[key]}" for key, option in known.items() if key in words]


def _settings(service: Service) -> list[str]:
    """The options of `docker create` that are not about one network."""
    words = [f"--publish {port.short}" for port in service.ports]
    options = {
        "hostname": "hostname", "domainname": "domainname", "extra_hosts": "add-host", "sysctls": "sysctl",
        "dns": "dns", "dns_search": "dns-search", "dns_opt": "dns-option",
    }  # fmt: skip
    for key, value in service.settings.items():
        words += [f"--{options[key]} {each}" for each in (value if isinstance(value, list) else [value])]
    return words


def labctl_topology(compose: Compose) -> str:
    """The same as a topology file."""
    bridges = {network.name: _bridge(network) for network in compose.networks}
    if any(service.mode == "bridge" for service in compose.services):
        bridges["docker0"] = {"subnet": "172.17.0.0/16"}
    namespaces = {service.name: _namespace(service) for service in compose.services}
    return yaml.safe_dump({"name": "lab", "bridges": bridges, "namespaces": namespaces}, sort_keys=False)


BRIDGE_KEYS = {  # driver_opts, without Docker's prefix
    "bridge.enable_icc": "icc",
    "bridge.enable_ip_masquerade": "masquerade",
    "driver.mtu": "mtu",
    "host_ipv4": "snat",
}


def _bridge(network: Network) -> dict[str, Any]:
    words: dict[str, Any] = {"subnet": list(network.subnets)}
    words |= {"gateway": list(network.gateways)} if network.gateways else {}
    words |= {"ip_range": network.ip_range} if network.ip_range else {}
    words |= {"internal": True} if network.internal else {}
    return words | {
        BRIDGE_KEYS[key.removeprefix(DRIVER)]: yaml.safe_load(value) for key, value in network.options.items()
    }


NETWORK_KEYS = {"ipv4_address": "ip", "ipv6_address": "ip6", "mac_address": "mac", "aliases": "aliases"}


def _namespace(service: Service) -> dict[str, Any]:
    words = dict(service.settings)
    if service.ports:
        words["ports"] = [port.short for port in service.ports]
    if service.mode == "bridge":
        return words | {"networks": ["docker0"]}
    if service.mode:
        return words | {"network_mode": service.mode.replace("service:", "namespace:")}
    networks = {
        name: {NETWORK_KEYS[key]: value for key, value in settings.items()}
        for name, settings in service.networks.items()
    }
    return words | {"networks": networks}
