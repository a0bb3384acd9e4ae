"""labctl's own netlink messages against pyroute2's: what one writes the other reads, and the other way round."""

from __future__ import annotations

import ipaddress
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from labctl.fields import replace
from labctl.linux import rtnetlink as rt
from labctl.linux.described import classes, decode, encode
from labctl.linux.messages import BRIDGES_UP, PORTS_UP, messages
from labctl.linux.netlink import CREATE, HEADER, REPLACE, attributes
from labctl.plan import Add, Change, Op, Remove
from labctl.state import HOST, Address, Link, Port, Route

KINDS = {
    rt.RTM_NEWLINK: "ifinfmsg",
    rt.RTM_DELLINK: "ifinfmsg",
    rt.RTM_SETLINK: "ifinfmsg",
    rt.RTM_NEWADDR: "ifaddrmsg",
    rt.RTM_DELADDR: "ifaddrmsg",
    rt.RTM_NEWROUTE: "rtmsg",
    rt.RTM_DELROUTE: "rtmsg",
}
FDS = {"a": 17, "b": 18}
BRIDGE = Port(HOST, "br0", 3, "02:42:aa:bb:cc:dd", 1500, alias="labctl:lab/br0", group=4711, link_local=False)
NEAR = Port(
    HOST, "veth1234567", 25, "02:42:00:00:00:01", 1400, master="br0", alias="labctl:lab/a/eth0", group=4711,
    link_local=False,
)  # fmt: skip
FAR = Port("a", "eth0", 24, "02:42:0a:00:00:02", 1400)
INDEXES = {(HOST, "br0"): 3, (HOST, "veth1234567"): 25, ("a", "eth0"): 24, ("a", "lo"): 1}


def sent(op: Op) -> list[tuple[str, int, int, dict[str, Any]]]:
    """Each message of an operation as pyroute2 reads it: whose it is, type, flags, fields and attributes."""
    found = []
    for node, data in messages(op, FDS.__getitem__, INDEXES):
        length, type_, flags, _, _ = HEADER.unpack_from(data)
        assert (length, length % 4) == (len(data), 0)
        found.append((node, type_, flags & ~1, plain(decode(KINDS[type_], data))))
    return found


def plain(message: Any) -> dict[str, Any]:
    values = {
        name: value for name, value in message.items() if name not in ("attrs", "header", "event", "state") and value
    }
    attributes = {name: plain(value) if hasattr(value, "items") else value for name, value in message["attrs"]}
    return values | attributes


def test_a_pair() -> None:
    made, set_up, near_up, far_up = sent(Add(Link("veth", (NEAR, replace(FAR, link_local=True)))))
    queues = {"IFLA_NUM_TX_QUEUES": 1, "IFLA_NUM_RX_QUEUES": 1}
    peer = {"index": 24, "IFLA_IFNAME": "eth0", "IFLA_ADDRESS": FAR.mac, "IFLA_MTU": 1400, **queues}
    info = {"IFLA_INFO_KIND": "veth", "IFLA_INFO_DATA": {"VETH_INFO_PEER": peer | {"IFLA_NET_NS_FD": 17}}}
    assert made == (
        HOST,
        rt.RTM_NEWLINK,
        CREATE,
        {"index": 25, "IFLA_IFNAME": NEAR.name, "IFLA_ADDRESS": NEAR.mac, "IFLA_GROUP": 4711, "IFLA_MTU": 1400}
        | queues
        | {"IFLA_LINKINFO": info},
    )
    no_link_local = {"IFLA_AF_SPEC": {"AF_INET6": {"IFLA_INET6_ADDR_GEN_MODE": 1}}}
    alias = {"IFLA_IFALIAS": NEAR.alias, "IFLA_MASTER": 3}
    assert set_up == (HOST, rt.RTM_SETLINK, 0, {"index": 25} | alias | no_link_local)
    assert near_up == (PORTS_UP, rt.RTM_SETLINK, 0, {"index": 25, "flags": 1, "change": 1})
    assert far_up == ("a", rt.RTM_SETLINK, 0, {"index": 24, "flags": 1, "change": 1})


def test_a_cable() -> None:
    """Neither end is the host's; both are told where to go."""
    ends = (replace(FAR, node="b", index=31), FAR)
    made, *_ = sent(Add(Link("veth", ends)))
    assert (made[0], made[3]["IFLA_NET_NS_FD"]) == (HOST, 18)


def test_a_bridge() -> None:
    made, set_up, up = sent(Add(Link("bridge", (BRIDGE,), stp=True)))
    info = {"IFLA_INFO_KIND": "bridge", "IFLA_INFO_DATA": {"IFLA_BR_STP_STATE": 1}}
    expected = {"index": 3, "IFLA_IFNAME": "br0", "IFLA_ADDRESS": BRIDGE.mac, "IFLA_GROUP": 4711, "IFLA_LINKINFO": info}
    assert made == (HOST, rt.RTM_NEWLINK, CREATE, expected)
    assert set_up[3]["IFLA_IFALIAS"] == BRIDGE.alias
    assert up == (BRIDGES_UP, rt.RTM_SETLINK, 0, {"index": 3, "flags": 1, "change": 1})


def test_a_changed_port() -> None:
    before, after = (Link("veth", (near, FAR)) for near in (NEAR, replace(NEAR, mtu=1500, isolated=True, hairpin=True)))
    mtu, settings = sent(Change(before, after))
    assert mtu[3] == {"index": 25, "IFLA_MTU": 1500}
    slave = {"IFLA_BRPORT_ISOLATED": 1, "IFLA_BRPORT_MODE": 1}
    info = {"IFLA_INFO_SLAVE_KIND": "bridge", "IFLA_INFO_SLAVE_DATA": slave}
    assert settings[1:] == (rt.RTM_NEWLINK, 0, {"index": 25, "IFLA_LINKINFO": info})


def test_removed() -> None:
    assert sent(Remove(Link("veth", (NEAR, FAR)))) == [(HOST, rt.RTM_DELLINK, 0, {"index": 25})]


interfaces = st.builds(
    lambda ip, prefix: ipaddress.ip_interface(f"{ip}/{prefix if ip.version == 6 else min(prefix, 32)}"),
    st.ip_addresses(),
    st.integers(1, 128),
)


@given(interfaces)
def test_addresses(interface: ipaddress.IPv4Interface | ipaddress.IPv6Interface) -> None:
    for op, type_, flags in ((Add, rt.RTM_NEWADDR, CREATE), (Remove, rt.RTM_DELADDR, 0)):
        [(node, *told, found)] = sent(op(Address("a", "eth0", interface)))
        assert (node, *told) == ("a", type_, flags)
        assert ipaddress.ip_address(found["IFA_LOCAL"]) == ipaddress.ip_address(found["IFA_ADDRESS"]) == interface.ip
        assert (found["prefixlen"], found["index"]) == (interface.network.prefixlen, 24)
        wide = interface.version == 4 and interface.network.prefixlen < 31 and not interface.ip.is_loopback
        assert found.get("IFA_BROADCAST") == (str(interface.network.broadcast_address) if wide else None)
        assert bool(found.get("flags", 0) & rt.IFA_F_NODAD) == (interface.version == 6)


@given(interfaces, st.booleans(), st.integers(0, 2000), st.sampled_from([254, 100, 5000]))
def test_routes(to: Any, through: bool, metric: int, table: int) -> None:
    via = to.network.network_address + 1 if through and to.network.num_addresses > 1 else None
    route = Route("a", to.network, via, "eth0", metric, table)
    for op, type_, flags in (
        (Add(route), rt.RTM_NEWROUTE, CREATE),
        (Change(route, route), rt.RTM_NEWROUTE, REPLACE),
        (Remove(route), rt.RTM_DELROUTE, 0),
    ):
        [(node, *told, found)] = sent(op)
        assert (node, *told) == ("a", type_, flags)
        assert (found["dst_len"], found["RTA_OIF"], found["RTA_TABLE"]) == (to.network.prefixlen, 24, table)
        assert found.get("RTA_PRIORITY", 0) == metric
        assert ipaddress.ip_address(found["RTA_DST"]) == to.network.network_address
        assert found.get("RTA_GATEWAY") == (str(via) if via else None)


@given(interfaces, st.integers(1, 2**31 - 1), st.integers(0, 2**32 - 1), st.sampled_from([254, 100, 5000]))
def test_what_pyroute2_writes_is_read(to: Any, index: int, metric: int, table: int) -> None:
    family = 2 if to.version == 4 else 10
    fields = {"family": family, "dst_len": to.network.prefixlen, "proto": 4, "type": 1, "table": min(table, 255)}
    written = [("RTA_DST", str(to.network.network_address)), ("RTA_GATEWAY", str(to.ip)), ("RTA_OIF", index)]
    written += [("RTA_PRIORITY", metric), ("RTA_TABLE", table)]
    route = rt.Route(encode("rtmsg", rt.RTM_NEWROUTE, 0, fields, written))
    assert (route.family, route.prefix, route.protocol, route.type) == (family, to.network.prefixlen, 4, 1)
    assert (route.to, route.via) == (to.network.network_address.packed, to.ip.packed)
    assert (route.index, route.metric, route.table) == (index, metric, table)
    fields = {"family": family, "prefixlen": to.network.prefixlen, "index": index}
    address = rt.Address(encode("ifaddrmsg", rt.RTM_NEWADDR, 0, fields, [("IFA_ADDRESS", str(to.ip))]))
    assert (address.index, address.prefix, address.packed) == (index, to.network.prefixlen, to.ip.packed)


def test_a_link_is_read() -> None:
    slave = {"attrs": [("IFLA_INFO_KIND", "veth"), ("IFLA_INFO_SLAVE_KIND", "bridge")]}
    written = [("IFLA_IFNAME", "ethé"), ("IFLA_ADDRESS", FAR.mac), ("IFLA_MTU", 1400), ("IFLA_LINKINFO", slave)]
    link = rt.Link(encode("ifinfmsg", rt.RTM_NEWLINK, 0, {"index": 9, "flags": 0x1043}, written))
    assert (link.index, link.flags, link.name, link.mac, link.kind) == (9, 0x1043, "ethé", FAR.mac, "veth")
    assert (link.number(rt.IFLA_MTU), link.number(rt.IFLA_MASTER), link.text(rt.IFLA_IFALIAS)) == (1400, 0, "")
    assert link.inside(rt.IFLA_LINKINFO, rt.IFLA_INFO_SLAVE_KIND) == b"bridge\0"
    assert link.inside(rt.IFLA_LINKINFO, 77, 78) == b""


@given(st.binary(max_size=64))
def test_attributes_end(data: bytes) -> None:
    """Whatever comes, there is an end to it."""
    assert all(len(payload) <= len(data) for payload in attributes(data).values())


def test_numbers() -> None:
    """They are pyroute2's; those of nested attributes are in the messages above."""
    known = {
        name: number
        for message in (classes.ifinfmsg, classes.ifaddrmsg, classes.rtmsg)
        for number, (name, _) in enumerate(message.nla_map)
    }
    shared = known.keys() & vars(rt).keys()
    assert len(shared) > 15
    assert {name: getattr(rt, name) for name in shared} == {name: known[name] for name in shared}
