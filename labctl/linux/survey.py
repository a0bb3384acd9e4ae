"""What else is on the host that a lab is about to stand on: links, routes, names. Reading only, no privilege needed."""

from __future__ import annotations

from _socket import AF_INET, AF_INET6
from collections.abc import Collection, Sequence
from ipaddress import ip_address, ip_network

from labctl.conflicts import HostRoute, Refused, Site
from labctl.fields import replace
from labctl.linux import names, nft, ports
from labctl.linux import rtnetlink as rt
from labctl.linux.place import ETC_NETNS, NETNS, Namespaces, Place, has_etc
from labctl.linux.readings import text
from labctl.state import HOST, Published, Resolver
from labctl.written import IPAddress

RT_TABLE_LOCAL = 255
RESOLV_CONF = ("/etc/resolv.conf", "/run/systemd/resolve/resolv.conf")  # the second: behind 127.0.0.53


def survey(place: Place, table: str, with_ports: bool) -> Site:
    """Runs inside `in_thread`."""
    with Namespaces(place) as namespaces:
        socket = namespaces.socket(HOST)
        links = namespaces.host_links()
        devices = {link.index: link.name for link in links}
        found = [rt.Route(data) for f in (AF_INET, AF_INET6) for data in socket.dump(rt.dump(rt.RTM_GETROUTE, f))]
        routes = [
            HostRoute(ip_network((route.to, route.prefix)), devices.get(route.index, ""))
            for route in found
            if route.to and route.table != RT_TABLE_LOCAL and route.type == rt.RTN_UNICAST
        ]
        namespaces.enter(HOST)
        in_use = ports.in_use(place.lab) if with_ports else frozenset()
        return replace(bare(place), links=tuple(links), routes=tuple(routes), has_table=nft.exists(table), ports=in_use)


def refused(place: Place, wanted: Sequence[Published], own: Collection[IPAddress]) -> list[Refused]:
    """The published ports that cannot be had on the lab's host. Runs inside `in_thread`."""
    with Namespaces(place) as namespaces:
        namespaces.enter(HOST)
        return ports.refused(place.lab, wanted, own)


def bare(place: Place) -> Site:
    """What others have where ip(8) looks for names; nothing of a host that may not exist yet."""
    return Site(
        netns=names.foreign(place, NETNS),
        etc_netns=names.foreign(place, ETC_NETNS) if has_etc() else frozenset(),
    )


def resolver() -> Resolver:
    """The machine's resolv.conf, without name servers on its loopback, which no node reaches (Docker does the same)."""
    read = [_resolver(path) for path in RESOLV_CONF]
    return next((found for found in read if found.nameservers), read[0])


def _resolver(path: str) -> Resolver:
    lines = [line.split() for line in text(path).splitlines()]
    said = [(words[0], words[1:]) for words in lines if len(words) > 1]
    servers = [_address(words[0]) for key, words in said if key == "nameserver"]
    search = [words for key, words in said if key == "search"]
    return Resolver(
        tuple(server for server in servers if server and not server.is_loopback),
        tuple(search[-1]) if search else (),
        tuple(word for key, words in said if key == "options" for word in words),
    )


def _address(written: str) -> IPAddress | None:
    """A nameserver as resolv.conf(5) writes it, without its zone; None where it is no address."""
    try:
        return ip_address(written.partition("%")[0])
    except ValueError:
        return None
