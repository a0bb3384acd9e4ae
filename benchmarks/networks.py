"""The networks that are built: nodes on bridges, as topologies for labctl and as batches for `ip -batch`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

GROUP = 7  # of the host's interfaces that `ip -batch` makes
FIRST_PORT = 20001


@dataclass(frozen=True)
class Network:
    """`nodes` nodes, equally many on each bridge one after the other; or, `everywhere`, each node on all bridges.

    Bridge b is 10.b.0.0/16 and its gateway the first address; the first node on it has the second one, and so on.
    `ports` is how many TCP ports each node publishes.
    """

    nodes: int
    bridges: int = 1
    everywhere: bool = False
    ports: int = 0

    @property
    def name(self) -> str:
        return f"bench-{self.nodes}"

    @property
    def middle(self) -> int:
        """The node that a change is about."""
        return (self.nodes + 1) // 2

    def interfaces(self, node: int) -> Iterator[tuple[int, str]]:
        """A node's bridges, and its address on each."""
        each = self.nodes if self.everywhere else -(-self.nodes // self.bridges)
        of = range(self.bridges) if self.everywhere else [(node - 1) // each]
        for bridge in of:
            yield bridge, address(bridge, 2 + (node - 1) % each)

    def topology(self, changed: bool = False) -> str:
        """The file for labctl; `changed`, with another address for the node in the middle."""
        bridges = "".join(f"  br{bridge}:\n    subnet: 10.{bridge}.0.0/16\n" for bridge in range(self.bridges))
        nodes = "".join(self._node(node, changed and node == self.middle) for node in range(1, self.nodes + 1))
        return f"name: {self.name}\nbridges:\n{bridges}namespaces:\n{nodes}"

    def changed_address(self) -> str:
        bridge, _ = next(self.interfaces(self.middle))
        return f"10.{bridge}.200.200"

    def _node(self, node: int, changed: bool) -> str:
        bridges = [f"br{bridge}" for bridge, _ in self.interfaces(node)]
        networks = f"[{', '.join(bridges)}]"
        if changed:
            rest = "".join(f", {bridge}: {{}}" for bridge in bridges[1:])
            networks = f"{{{bridges[0]}: {{ip: {self.changed_address()}}}{rest}}}"
        ports = "".join(f'\n      - "{port}:80"' for port in self.published(node))
        return f"  node{node}:\n    networks: {networks}\n" + (f"    ports:{ports}\n" if ports else "")

    def published(self, node: int) -> range:
        """The host's ports that lead to port 80 of a node."""
        first = FIRST_PORT + (node - 1) * self.ports
        return range(first, first + self.ports)

    def write_batches(self, folder: Path) -> None:
        """For scripts/batch-up.sh: `host`, `nodes/<node>` and `up` are batches for ip, `rules` is for nft."""
        (folder / "nodes").mkdir()
        made, up = [], []
        for bridge in range(self.bridges):
            made.append(f"link add br{bridge} group {GROUP} type bridge")
            made.append(f"address add 10.{bridge}.0.1/16 broadcast + dev br{bridge}")
            up.append(f"link set br{bridge} up")
        for node in range(1, self.nodes + 1):
            made.append(f"netns add node{node}")
            for number, (bridge, _) in enumerate(self.interfaces(node)):
                name, queue = f"veth{node}.{number}", "numtxqueues 1 numrxqueues 1"
                peer = f"peer name eth{number} netns node{node} {queue}"
                made.append(f"link add {name} group {GROUP} master br{bridge} {queue} type veth {peer}")
                made.append(f"link set {name} addrgenmode none")
                up.append(f"link set {name} up")
            (folder / f"nodes/node{node}").write_text("".join(f"{line}\n" for line in self._inside(node)))
        (folder / "host").write_text("".join(f"{line}\n" for line in made))
        (folder / "up").write_text("".join(f"{line}\n" for line in reversed(up)))
        (folder / "gone").write_text("".join(f"netns delete node{node}\n" for node in range(1, self.nodes + 1)))
        (folder / "rules").write_text(self._rules())

    def _inside(self, node: int) -> Iterator[str]:
        yield "link set lo up"
        for number, (bridge, ip) in enumerate(self.interfaces(node)):
            yield f"link set eth{number} addrgenmode none"
            yield f"link set eth{number} up"
            yield f"address add {ip}/16 broadcast + dev eth{number}"
            if not number:
                yield f"route add default via 10.{bridge}.0.1"

    def _rules(self) -> str:
        bridges = ", ".join(f'"br{bridge}"' for bridge in range(self.bridges))
        forward = "".join(f'    iifname "br{b}" oifname "br{b}" accept\n' for b in range(self.bridges))
        return (
            "table inet lab {\n  chain forward {\n    type filter hook forward priority filter; policy accept;\n"
            f"    oifname {{ {bridges} }} ct state established,related accept\n{forward}"
            f"    oifname {{ {bridges} }} drop\n  }}\n"
            "  chain postrouting {\n    type nat hook postrouting priority srcnat; policy accept;\n"
            f"    ip saddr 10.0.0.0/12 oifname != {{ {bridges} }} masquerade\n  }}\n}}\n"
        )


def address(bridge: int, number: int) -> str:
    return f"10.{bridge}.{number // 256}.{number % 256}"
