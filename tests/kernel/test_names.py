"""Names: who finds whom, by which name, and what an address is called; in every way that a program may ask."""

from __future__ import annotations

import os

from kernel.machine import Machine, changes, each_way, needs, wait_until

LAB = """
name: lab
bridges:
  front: {subnet: [10.1.0.0/24, "fd00:1::/64"]}
  back: {subnet: 10.2.0.0/24, internal: true}
  six: {subnet: "fd00:3::/64"}
namespaces:                             # nobody answers at the name server, at once
  web: {networks: {front: {aliases: [www]}, back: {}}, hostname: server, domainname: example.org, dns: 127.0.0.1}
  db: {networks: [back], dns: 127.0.0.1}
  client:
    networks: [front, six]
    extra_hosts: [gate:host-gateway, "far:192.0.2.7"]
    dns: 127.0.0.1
    dns_search: example.org
    dns_opt: [ndots:1]
  alone: {networks: [six], dns: 127.0.0.1}
  side: {network_mode: namespace:db}
"""
ADDRESSES = {
    "web": {"front": ["10.1.0.2", "fd00:1::2"], "back": ["10.2.0.2"]},
    "db": {"back": ["10.2.0.3"]},
    "client": {"front": ["10.1.0.3", "fd00:1::3"], "six": ["fd00:3::2"]},
    "alone": {"six": ["fd00:3::3"]},
}
MORE = ["www", "www.front", "server", "server.example.org"]  # what web is called too
pytestmark = needs("getent")


def lookups(machine: Machine, node: str, *names: str) -> dict[str, set[str]]:
    """The addresses, of both versions, that a node finds for names."""
    script = f"for name in {' '.join(names)}; do echo = $name; getent ahostsv4 $name; getent ahostsv6 $name; done; :"
    told = machine.inside(node, f"sh -c '{script}'").split("= ")[1:]
    lines = {name: rest for name, _, rest in (text.partition("\n") for text in told)}
    return {
        name: {line.split()[0] for line in rest.splitlines() if not line.startswith("::ffff:")}
        for name, rest in lines.items()
    }


def found(machine: Machine, node: str, name: str) -> set[str]:
    return lookups(machine, node, name)[name]


@each_way
def test_every_name_from_every_node(machine: Machine, option: str) -> None:
    """Nodes find each other on the networks that they share, and only by the addresses there."""
    machine.up(machine.topology("lab", LAB), option)
    for asking in ADDRESSES:
        wanted: dict[str, set[str]] = {}
        for asked, networks in ADDRESSES.items():
            shared = {network: set(networks[network]) for network in networks if network in ADDRESSES[asking]}
            wanted[asked] = set().union(*shared.values())
            wanted |= {f"{asked}.{network}": shared.get(network, set()) for network in networks}
        assert lookups(machine, asking, *wanted) == wanted, asking
    assert lookups(machine, "client", *MORE) == {name: {"10.1.0.2", "fd00:1::2"} for name in MORE}
    assert found(machine, "side", "web") == {"10.2.0.2"}
    assert found(machine, "web", "side") == set()  # it has no address of its own
    assert found(machine, "client", "gate") == {"10.1.0.1", "fd00:1::1"}
    assert found(machine, "client", "far") == {"192.0.2.7"}
    assert machine.run("getent hosts client").status != 0


def test_packets_arrive_under_each_name(machine: Machine) -> None:
    machine.up(machine.topology("lab", LAB))
    for node, name in (("client", "web"), ("client", "www"), ("db", "web.back"), ("alone", "client"), ("side", "web")):
        for version in "46":
            if any((":" in address) == (version == "6") for address in found(machine, node, name)):
                assert "1 received" in machine.inside(node, f"ping -{version} -c 1 -W 5 {name}")


def test_what_an_address_is_called(machine: Machine) -> None:
    """The first name of its line: others' names, and one's own full name."""
    machine.up(machine.topology("lab", LAB))
    asked = {"10.1.0.2": "web", "fd00:1::2": "web", "10.1.0.1": "gate", "10.1.0.3": "client", "fd00:3::3": "alone"}
    for address, name in asked.items():
        assert machine.inside("client", f"getent hosts {address}").split()[1] == name
    assert machine.inside("web", "getent hosts 10.1.0.2").split()[1] == "server.example.org"
    assert machine.inside("web", "hostname -f") == "server.example.org\n"
    assert machine.inside("web", "hostname") == "server\n"


def test_the_files(machine: Machine) -> None:
    machine.up(machine.topology("lab", LAB))
    lines = machine.inside("client", "cat /etc/hosts").splitlines()
    assert [line.split()[0] for line in lines[6:]] == [
        *("10.1.0.1", "fd00:1::1", "192.0.2.7"),
        *("10.1.0.3", "fd00:1::3", "fd00:3::2"),
        *("10.1.0.2", "fd00:1::2", "fd00:3::3"),
    ]
    resolver = machine.inside("client", "cat /etc/resolv.conf").splitlines()
    assert resolver[-2:] == ["search example.org", "options ndots:1"]


def test_ip_netns_exec_has_the_names_too(machine: Machine) -> None:
    machine.up(machine.topology("lab", LAB))
    for node in ("web", "client", "db", "side"):
        assert machine.ok(f"ip netns exec {node} cat /etc/hosts /etc/resolv.conf") == machine.inside(
            node, "cat /etc/hosts /etc/resolv.conf"
        )
    machine.ok("labctl down")
    assert not os.path.lexists(machine.path("/etc/netns"))


def test_a_process_sees_who_comes_and_goes(machine: Machine) -> None:
    """Its files are changed in place, and it goes on."""
    lab = LAB.replace("db: {networks: [back]", "db: {networks: [front], run: exec sleep 1000")
    machine.up(machine.topology("lab", lab))
    wait_until(lambda: machine.pids("sleep 1000"))
    [pid] = machine.pids("sleep 1000")
    running = "nsenter --mount --net --target $(pgrep -xf 'sleep 1000') getent hosts"
    assert machine.run(f"{running} late").status == 2
    for text, status in ((lab.replace("  db:", "  late: {networks: [front]}\n  db:"), 0), (lab, 2)):
        machine.up(machine.topology("lab", text))
        assert machine.run(f"{running} late").status == status
        assert machine.pids("sleep 1000") == [pid]


def test_without_ipv6_there_is_no_line_of_it(machine: Machine) -> None:
    text = "name: lab\nnamespaces: {a: {network_mode: none, sysctls: {net.ipv6.conf.all.disable_ipv6: 1}}}\n"
    machine.up(machine.topology("lab", text))
    assert machine.inside("a", "cat /etc/hosts") == "127.0.0.1\tlocalhost\n"


@needs("dnsmasq")
def test_a_name_server_in_a_node(machine: Machine) -> None:
    """dnsmasq serves the hosts file of its node, both ways, and the others ask it."""
    text = """
name: lab
bridges: {net: {subnet: [10.0.0.0/24, "fd00::/64"]}}
namespaces:
  dns: {networks: {net: {ip: 10.0.0.53}}, run: exec dnsmasq --keep-in-foreground --no-resolv --user=root --pid-file=}
  asks: {networks: [net], dns: 10.0.0.53}
  db: {networks: {net: {aliases: [sql]}}}
"""
    machine.up(machine.topology("lab", text))
    machine.ok("rm /etc/netns/asks; mkdir /etc/netns/asks; cp /run/labctl/lab/etc/asks/resolv.conf /etc/netns/asks")
    ask = "ip netns exec asks getent"  # without the hosts file
    wait_until(lambda: machine.run(f"{ask} hosts sql").status == 0)
    assert machine.ok(f"{ask} ahostsv4 db").split()[0] == "10.0.0.3"
    assert machine.ok(f"{ask} hosts 10.0.0.3").split()[1] == "db"
    assert machine.ok(f"{ask} hosts fd00::4").split()[1] == "db"
    machine.ok("rm -r /etc/netns/asks")


# --- /etc/netns ------------------------------------------------------------------------------------------------------


def test_links_that_a_reboot_left(machine: Machine) -> None:
    """They lead to labs that are no more: `up` takes them over, `down` takes them away."""
    stale = "mkdir /etc/netns; for name in web gone; do ln -s /run/labctl/old/etc/$name /etc/netns/$name; done"
    stale += "; touch --no-dereference --date 1991-08-25 /etc/netns/*"
    machine.ok(stale)
    machine.up(machine.topology("lab", LAB))
    assert "web" in machine.ok("ip netns exec web cat /etc/hosts")
    machine.ok("labctl down")
    assert machine.run("ls /etc/netns").status != 0
    machine.ok(f"{stale}; mkdir /etc/netns/mine")
    assert machine.run("labctl down --all").status == 0
    assert machine.ok("ls /etc/netns") == "mine\n"
    machine.ok("rmdir /etc/netns/mine /etc/netns")


def test_links_of_labs_that_are_up_elsewhere(machine: Machine) -> None:
    """Where there is another /run, and the same /etc, their folder is not to be seen: they are left alone."""
    file = machine.topology("lab", LAB)
    machine.up(file)
    there = machine.ok("ls /etc/netns")
    elsewhere = "unshare --mount --net sh -c 'mount -t tmpfs tmpfs /run; {}'"
    machine.ok(elsewhere.format("labctl down --all"))
    assert machine.ok("ls /etc/netns") == there
    machine.path("/etc/other.yaml").write_text(machine.path(file).read_text().replace("name: lab", "name: other"))
    done = machine.run(elsewhere.format("labctl up /etc/other.yaml"))
    assert done.status == 1
    assert "/etc/netns" in done.stderr
    assert machine.ok("ls /etc/netns") == there
    machine.ok("rm /etc/other.yaml")


def test_the_folder_that_was_there_stays(machine: Machine) -> None:
    machine.ok("mkdir /etc/netns")
    machine.settle()
    machine.up(machine.topology("lab", LAB))
    machine.ok("labctl down")
    assert changes(machine.before, machine.snapshot()) == []


def test_a_read_only_machine(machine: Machine) -> None:
    machine.ok("mount -o remount,ro /etc")
    machine.settle()
    file = machine.topology("lab", LAB)
    machine.up(file)
    assert machine.run(f"labctl plan {file} --exit-code").status == 0
    assert found(machine, "client", "web") == {"10.1.0.2", "fd00:1::2"}
    machine.ok("labctl down")


def test_a_missing_name_is_made_again(machine: Machine) -> None:
    file = machine.topology("lab", LAB)
    machine.up(file)
    machine.ok("rm /etc/netns/web; ln -sfn /run/labctl/lab/etc/web /etc/netns/side")
    assert "/etc/netns" in machine.ok(f"labctl plan {file}")
    machine.up(file)
    for node, owner in (("web", "web"), ("side", "db")):
        assert os.readlink(machine.path(f"/etc/netns/{node}")) == f"/run/labctl/lab/etc/{owner}"
