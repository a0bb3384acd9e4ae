"""How addresses, subnets, MAC addresses, ports and name=value pairs are written.

Each function turns one text into a value, or raises ValueError with a sentence for the user. Knows no context: whether
an address fits its subnet is for checks.py.
"""

from __future__ import annotations

import re
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from labctl.syntax import plain, quoted
from labctl.written import HOST_GATEWAY, MODES, Interface, IPAddress, Network, Publish, Span, size


def address(text: str) -> IPAddress:
    _no_zone(text)
    if "/" in text:
        alone = plain(text.partition("/")[0])
        raise ValueError(f"{quoted(text)} has a prefix length; write the address alone: {alone}")
    try:
        return ip_address(text)
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an IP address; write one such as 172.17.0.9 or fd00:17::9") from None


def ipv4_address(text: str) -> IPv4Address:
    found = address(text)
    if not isinstance(found, IPv4Address):
        raise ValueError(f"{quoted(text)} is an IPv6 address; write it as 'ip6', or an IPv4 address here")
    return found


def ipv6_address(text: str) -> IPv6Address:
    found = address(text)
    if not isinstance(found, IPv6Address):
        raise ValueError(f"{quoted(text)} is an IPv4 address; write it as 'ip', or an IPv6 address here")
    return found


def network(text: str) -> Network:
    _no_zone(text)
    _needs_prefix(text)
    try:
        found = ip_interface(_digits(text))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not a subnet; write one such as 172.17.0.0/16 or fd00:17::/64") from None
    if found.ip != found.network.network_address:
        raise ValueError(f"{quoted(text)} has host bits set; did you mean {found.network}?")
    return found.network


def ipv4_network(text: str) -> IPv4Network:
    found = network(text)
    if isinstance(found, IPv6Network):
        raise ValueError(f"{quoted(text)} is IPv6; write an IPv4 range such as 172.17.5.0/24")
    return found


def destination(text: str) -> Network:
    """Where a route leads: a subnet, or one address. (`default` depends on the next hop.)"""
    if "/" in text:
        return network(text)
    try:
        return ip_network(address(text))
    except ValueError:
        wanted = "a subnet such as 10.2.0.0/16, one address, or 'default'"
        raise ValueError(f"{quoted(text)} is no place for a route to lead; write {wanted}") from None


def ipv4_interface(text: str) -> IPv4Interface:
    found = _interface(text)
    if not isinstance(found, IPv4Interface):
        raise ValueError(f"{quoted(text)} is an IPv6 address; write it as 'ip6', or an IPv4 address here")
    return found


def ipv6_interface(text: str) -> IPv6Interface:
    found = _interface(text)
    if not isinstance(found, IPv6Interface):
        raise ValueError(f"{quoted(text)} is an IPv4 address; write it as 'ip', or an IPv6 address here")
    return found


def mac(text: str) -> str:
    """A unicast MAC address in lower case with colons, as `ip link` prints it."""
    found = text.lower().replace("-", ":")
    if not MAC.fullmatch(found):
        raise ValueError(f"{quoted(text)} is not a MAC address; write six bytes such as 02:42:ac:11:00:09")
    if int(found[:2], 16) & 1:
        raise ValueError(f"{quoted(text)} is a multicast MAC address; make its first byte even, such as 02")
    if found == "00:00:00:00:00:00":
        raise ValueError(f"{quoted(text)} is no interface's address; write one such as 02:42:ac:11:00:09")
    return found


def mode(text: str) -> str:
    if text not in MODES:
        raise ValueError(f"{quoted(text)} is no gateway mode; write one of {', '.join(MODES)}")
    return text


def setting(text: str) -> tuple[str, str]:
    """NAME=value, as in a list of environment variables or sysctls."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise ValueError(f"{quoted(text)} has no value; write NAME=value")
    return name, value


def network_mode(text: str) -> str:
    kind, _, name = text.partition(":")
    if text in ("none", "host") or (kind == "namespace" and name):
        return text
    message = f"{quoted(text)} is no network mode; write none, host or namespace:NAME"
    if kind in ("service", "container") and name:
        message = f"{quoted(text)} is for containers; write namespace:{plain(name)}"
    elif text == "bridge":
        message += ", or name bridges under 'networks'"
    raise ValueError(message)


def option(text: str) -> str:
    """An option of resolv.conf(5), such as ndots:1."""
    if not re.fullmatch(r"[a-z][a-z0-9-]*(:[0-9]+)?", text):
        raise ValueError(f"{quoted(text)} is no option of a resolver; write one such as ndots:1 or use-vc")
    return text


def host_address(text: str) -> IPAddress | str:
    """An address, or HOST_GATEWAY for the host's."""
    return text if text == HOST_GATEWAY else address(text)


def host(text: str) -> tuple[str, IPAddress | str]:
    """name:address or name=address, as in extra_hosts; an IPv6 address may be in brackets."""
    name, found, rest = re.fullmatch(r"([^:=]*)([:=]?)(.*)", text, re.DOTALL).groups()  # type: ignore[union-attr]
    if not found or not name:
        raise ValueError(f"{quoted(text)} has no address; write name:address, such as db:192.0.2.7")
    return name, host_address(rest.removeprefix("[").removesuffix("]"))


def publish(text: str) -> Publish:
    """Compose's short syntax: [[address:]port:]port[/protocol], where a port may be a span; IPv6 is in brackets."""
    front, _, protocol = text.partition("/")
    outside, colon, inside = front.rpartition(":")
    where, _, host = outside.rpartition(":")
    if not inside or (colon and not outside) or (outside and not where and not host):
        raise ValueError(f"{quoted(text)} publishes no port; write for example 8080:80 or 127.0.0.1:53:53/udp")
    host_ip = address(where.removeprefix("[").removesuffix("]")) if where else None
    return publication(ports(inside), ports(host) if host else None, host_ip, protocol or "tcp")


def publication(inside: Span, host: Span | None, host_ip: IPAddress | None, protocol: str) -> Publish:
    if protocol not in ("tcp", "udp"):
        raise ValueError(f"{quoted(protocol)} cannot be published; write tcp or udp")
    if host and size(host) != size(inside) and size(inside) > 1:
        raise ValueError(
            f"{size(host)} ports of the host for {size(inside)} of the namespace; make both the same number"
        )
    return Publish(inside, host, host_ip, protocol)


def ports(text: str) -> Span:
    """One port, or the first and the last of some: 8000-8010."""
    first, dash, last = text.partition("-")
    both = first, last if dash else first
    span = [int(number) for number in both if re.fullmatch("[0-9]{1,5}", number)]
    if len(span) < 2 or not 1 <= span[0] <= span[1] <= 65535:
        raise ValueError(f"{quoted(text)} is no port; write a number from 1 to 65535, or two as in 8000-8010")
    return span[0], span[1]


def _needs_prefix(text: str) -> None:
    """To ipaddress, a subnet without a '/' is one address."""
    try:
        found = ip_address(text)
    except ValueError:
        return
    example = f"{found}/{24 if found.version == 4 else 64}"
    raise ValueError(f"{quoted(text)} has no prefix length; write for example {example}")


def _digits(text: str) -> str:
    """To ipaddress, what follows the '/' may also be a netmask, or its inverse."""
    if not re.fullmatch(r"[^/]+/[0-9]{1,3}", text):
        raise ValueError(text)
    return text


def _interface(text: str) -> Interface:
    """An address with its prefix, for the end of a cable."""
    _no_zone(text)
    _needs_prefix(text)
    try:
        found = ip_interface(_digits(text))
    except ValueError:
        raise ValueError(f"{quoted(text)} is not an address with a prefix; write one such as 10.0.12.1/24") from None
    own = found.network
    if own.prefixlen < own.max_prefixlen - 1 and found.ip == own.network_address:
        raise ValueError(f"{quoted(text)} is the address of the subnet itself; give this end one inside it")
    if isinstance(own, IPv4Network) and own.prefixlen < 31 and found.ip == own.broadcast_address:
        raise ValueError(f"{quoted(text)} is the broadcast address of its subnet; give this end one inside it")
    return found


def _no_zone(text: str) -> None:
    if "%" in text:
        raise ValueError(f"{quoted(text)} has a zone; write it without the '%' and the interface's name")


MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
