"""Topology files: every good one loads as meant, every bad one gives exactly the problems it announces."""

from __future__ import annotations

import re
import subprocess
import sys
from ipaddress import ip_address, ip_interface, ip_network
from pathlib import Path

import pytest

from labctl import shape
from labctl.document import MAX_BYTES, parse, read
from labctl.errors import TopologyError, UsageError
from labctl.topology import Attachment, Run, StaticRoute, Topology, load

FOLDER = Path(__file__).parent / "topologies"
GOOD = sorted((FOLDER / "good").iterdir())
SHIPPED = sorted((FOLDER.parents[1] / "topologies").glob("*.yaml"))
BAD = sorted((FOLDER / "bad").iterdir())
ANNOUNCEMENT = "# error: "


def problems(text: bytes, file: str = "lab.yaml") -> list[str]:
    """Everything that is wrong with a text: `line:column: message`."""
    with pytest.raises(TopologyError) as raised:
        load(text, file)
    return [f"{problem.line}:{problem.column}: {problem.message}" for problem in raised.value.problems]


def good(name: str) -> Topology:
    return load((FOLDER / "good" / f"{name}.yaml").read_bytes(), f"{name}.yaml")


def unreadable(file: str | Path) -> str:
    with pytest.raises(UsageError) as raised:
        read(str(file))
    return str(raised.value)


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("file", BAD, ids=lambda file: file.stem)
def test_bad_file(file: Path) -> None:
    text = file.read_bytes()
    lines = text.decode().splitlines()
    announced = [line.removeprefix(ANNOUNCEMENT) for line in lines if line.startswith(ANNOUNCEMENT)]
    assert announced
    assert problems(text, file.name) == announced


@pytest.mark.parametrize("file", GOOD, ids=lambda file: file.stem)
def test_good_file(file: Path) -> None:
    topology = load(file.read_bytes(), str(file))
    assert topology.name == file.stem
    assert topology.nodes
    assert topology == load(file.read_bytes(), "/elsewhere/" + file.name)  # where it lies makes no difference


@pytest.mark.parametrize("file", [*GOOD, *SHIPPED], ids=lambda file: file.stem)
def test_good_file_needs_no_validator(file: Path) -> None:
    assert shape.fits(parse(file.read_bytes(), str(file)).data, shape.schema())


def test_whole_schema_is_understood() -> None:
    """Of a keyword that `fits` does not know it would not know whether it is kept."""
    words = set(re.findall(r'"(\$?[a-z]\w*)":', Path(shape.FILE).read_text()))
    unknown = {"not", "anyOf", "oneOf", "allOf", "if", "const", "pattern", "patternProperties", "format", "maxLength",
               "propertyNames", "dependentRequired", "uniqueItems", "contains", "multipleOf", "exclusiveMinimum",
               "exclusiveMaximum", "maxProperties", "prefixItems", "unevaluatedProperties"}  # fmt: skip
    assert words & unknown == set()


# --- what cannot announce itself in a comment ----------------------------------------------------------------------

EMPTY = "1:1: the file is empty; describe a network, or start with 'labctl init'"
DIRECTIVE = "a line that starts with '%' is a YAML directive; remove it, topologies need none"
LEFTOVER = "text after the end of the topology; remove it, or check the brackets and indentation above"
TAB = "1:1: a tab cannot indent YAML; use spaces"
DEEP = "nested more than 32 levels deep; a topology is never that deep"
MAPPING = "the file holds {}; a topology is made of keys such as 'namespaces:'"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        pytest.param(b"", EMPTY, id="empty"),
        pytest.param(b"\n \n", EMPTY, id="blank"),
        pytest.param(b"# nothing\n", EMPTY, id="comment"),
        pytest.param(b"---\n...\n", EMPTY, id="empty-document"),
        pytest.param(b"null", "1:1: " + MAPPING.format("nothing"), id="null"),
        pytest.param(b"''", "1:1: " + MAPPING.format("the text ''"), id="empty-text"),
        pytest.param(b"\xef\xbb\xbf", EMPTY, id="byte-order-mark-alone"),
        pytest.param(b"\tname: x\n", TAB, id="tab-first"),
        pytest.param(b"#\r%TAG ! x\r---\r", "2:1: " + DIRECTIVE, id="directive-after-a-carriage-return"),
        pytest.param("#\x85%YAML 1.2\x85".encode(), "2:1: " + DIRECTIVE, id="directive-after-a-next-line"),
        pytest.param(b"a: 1\r...\rb: 2\r", "3:1: " + LEFTOVER, id="text-after-the-end-and-a-carriage-return"),
        pytest.param("a: 1\n...\n\xa0\n".encode(), "3:1: " + LEFTOVER, id="no-break-space-after-the-end"),
        pytest.param(
            b"a: 1\rb: \x01\r", "2:4: a control character (U+0001) cannot be in YAML; remove it", id="control"
        ),
        pytest.param(b"a: 1\nb", "2:2: expected a ':' after the key; write 'key: value'", id="no-newline-at-the-end"),
        pytest.param(b"name: caf\xe9\n", "1:10: not UTF-8 text (byte 9 is 0xe9); save the file as UTF-8", id="latin-1"),
        pytest.param(
            b"\xef\xbb\xbfname: \xff\n",
            "1:7: not UTF-8 text (byte 9 is 0xff); save the file as UTF-8",
            id="byte-order-mark-then-not-utf-8",
        ),
        pytest.param(
            "name: x\n".encode("utf-16"), "1:1: not UTF-8 text (byte 0 is 0xff); save the file as UTF-8", id="utf-16"
        ),
        pytest.param(b"name: a\0b", "1:8: a control character (U+0000) cannot be in YAML; remove it", id="nul"),
        pytest.param(
            b"name: x\n\x1b[2J", "2:1: a control character (U+001B) cannot be in YAML; remove it", id="terminal-escape"
        ),
        pytest.param(b"[" * MAX_BYTES, f"1:33: {DEEP}", id="1-mib-of-brackets"),
        pytest.param(
            b"{" * MAX_BYTES,
            "1:2: a key must be a plain name; quote it if it starts with '[' or '{'",
            id="1-mib-of-braces",
        ),
        pytest.param(b"- " * (MAX_BYTES // 2), f"1:65: {DEEP}", id="1-mib-of-dashes"),
        pytest.param(
            b"a: " * (MAX_BYTES // 3),
            "1:5: a ':' cannot stand here; check the indentation, or quote the text",
            id="1-mib-of-keys",
        ),
        pytest.param(b"x" * MAX_BYTES, "1:1: " + MAPPING.format(f"the text '{'x' * 37}...'"), id="1-mib-of-text"),
        pytest.param(
            b"a: [" + b"x," * 60_000 + b"]",
            "1:50003: more than 25000 values, aliases counted; use 'count', or several topologies",
            id="values",
        ),
    ],
)
def test_bad_text(text: bytes, problem: str) -> None:
    assert problems(text) == [problem]


def test_a_hundred_problems_and_a_word_on_the_rest() -> None:
    lines = [b"namespaces:\n", *(b"  n%d: {networks: [x]}\n" % number for number in range(1000))]
    unknown = "unknown bridge 'x'; add it under 'bridges'"
    all_told, too_many = problems(b"".join(lines[:101])), problems(b"".join(lines))
    assert (len(all_told), all_told[-1]) == (100, f"101:20: {unknown}")
    assert (too_many[:-1], too_many[-1]) == (
        all_told,
        "102:21: more than 100 problems; mend those above, then look for the rest",
    )


# --- what cannot be read -------------------------------------------------------------------------------------------


def test_missing_file(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    assert unreadable(file) == f"{file}: no such file; check the path, or start one with 'labctl init'"


def test_missing_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    file = tmp_path / "file" / "lab.yaml"
    assert unreadable(file) == f"{file}: no such file; check the path, or start one with 'labctl init'"


def test_directory(tmp_path: Path) -> None:
    assert unreadable(f"{tmp_path}/") == (
        f"{tmp_path}/: is a directory; name the file in it, such as {tmp_path}/topology.yaml"
    )


def test_no_permission(tmp_path: Path) -> None:
    """In a process that is not root, for root may read everything."""
    file = tmp_path / "lab.yaml"
    file.write_text("namespaces: {a: {network_mode: none}}\n")
    file.chmod(0)
    script = "import os, sys; from labctl.document import read; os.geteuid() or os.seteuid(65534); read(sys.argv[1])"
    done = subprocess.run([sys.executable, "-c", script, file], capture_output=True, text=True, check=False)
    sentence = f"{file}: no permission to read it; change its mode (chmod +r) or run as its owner"
    assert done.stderr.splitlines()[-1] == f"labctl.errors.UsageError: {sentence}"


def test_larger_than_1_mib(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_bytes(b" " * 1_048_577)
    sentence = "larger than 1 MiB; a topology is some pages of text: check the file's name"
    assert unreadable(file) == f"{file}: {sentence}"
    assert unreadable("/dev/zero") == f"/dev/zero: {sentence}"


def test_1_mib_is_read(tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_bytes(b"namespaces: {a: {network_mode: none}}".ljust(1_048_576, b"\n"))
    assert load(read(str(file)), str(file)).name == "lab"


def test_strange_files(tmp_path: Path) -> None:
    assert read("/dev/null") == b""
    assert unreadable("/proc/self/mem") == "/proc/self/mem: cannot be read (Input/output error); name another file"
    (tmp_path / "loop").symlink_to("loop")
    assert unreadable(tmp_path / "loop") == (
        f"{tmp_path}/loop: cannot be read (Too many levels of symbolic links); name another file"
    )


def test_standard_input() -> None:
    script = "from labctl.document import read; print(read('-'))"
    done = subprocess.run([sys.executable, "-c", script], input=b"name: x", capture_output=True, check=True)
    assert done.stdout == b"b'name: x'\n"


# --- what good files mean ------------------------------------------------------------------------------------------


def test_one_bridge() -> None:
    topology = good("one-bridge")
    [bridge] = topology.bridges
    assert (topology.name, topology.prefix, bridge.name) == ("one-bridge", "ob-", "docker0")
    assert bridge.subnets == (ip_network("172.17.0.0/16"),)
    assert (bridge.gateways, bridge.internal, bridge.icc, bridge.masquerade) == ((), False, True, True)
    assert [(node.name, node.networks) for node in topology.nodes] == [
        ("container1", (Attachment("docker0"),)),
        ("container2", (Attachment("docker0"),)),
    ]
    assert topology.positions["bridges", "docker0", "subnet"] == (5, 13)
    assert topology.positions["namespaces", "container2", "networks", "0"] == (10, 16)


def test_bridge_settings() -> None:
    front, six, seven = good("bridge-settings").bridges
    assert front.subnets == (ip_network("10.1.0.0/24"), ip_network("fd00:1::/64"))
    assert front.gateways == (ip_address("10.1.0.254"), ip_address("fd00:1::ff"))
    assert front.ip_range == ip_network("10.1.0.128/25")
    assert (front.internal, front.icc, front.masquerade, front.stp) == (True, False, False, True)
    assert (front.mtu, front.mac) == (1400, "02:42:ac:11:00:01")
    assert (six.subnets, seven.subnets) == ((ip_network("fd00:6::/64"),), (ip_network("10.7.0.0/30"),))


def test_attachments() -> None:
    web, other = good("attachments").nodes
    back, front = web.networks
    assert back == Attachment("back")
    assert (front.bridge, str(front.ip), str(front.ip6)) == ("front", "10.1.0.9", "fd00:1::9")
    assert (front.mac, front.interface) == ("02:42:0a:01:00:09", "eth5")
    assert front.aliases == ("www", "api.example.org")
    assert other.networks == (Attachment("front"),)


def test_anchors() -> None:
    a, b, c, d = good("anchors").nodes
    assert a.environment == (("LOG", "info"), ("PORT", "80"))
    assert (b.networks, b.run, dict(b.environment)) == (a.networks, a.run, {"LOG": "info", "PORT": "81"})
    assert (c.networks, c.run, c.environment) == (a.networks, a.run, ())
    assert (d.run, d.forward, a.forward) == (a.run, True, False)


def test_core_types() -> None:
    words, octal, word = good("core-types").nodes
    assert " ".join(value for _, value in words.environment) == (
        "no on 22:22 12:34:56:78:9a:bc 017 2024-01-01 1_000 .inf 1e999 y"
    )
    assert (octal.name, word.name) == ("017", "yes")


def test_nothing_is_read_to_the_base_of_60() -> None:
    topology = good("mac-base-60")
    [bridge], [node] = topology.bridges, topology.nodes
    assert (bridge.mac, node.networks[0].mac) == ("12:34:56:10:20:30", "02:42:10:10:10:10")
    assert node.environment == (("PORTS", "22:22"),)


def test_count() -> None:
    assert [node.name for node in good("count").nodes] == ["web-1", "web-2", "web-3", "one-1", "web-4"]


def test_processes() -> None:
    text, argv, many = good("processes").nodes
    assert text.run == (Run("main", "echo one; sleep 1"),)
    assert argv.run == (Run("main", ("sleep", "60")),)
    assert many.environment == (("LOG", "info"), ("VERSION", "1.10"), ("DEBUG", "true"), ("EMPTY", ""))
    assert many.run == (
        Run("web", "python3 -m http.server 80"),
        Run("log", ("tail", "-f", "/dev/null")),
        Run("db", "exec db", (("PORT", "5432"), ("URL", "a=b"))),
        Run("cache", ("cache", "--size", "64"), (("SIZE", "0o17"),)),
    )


def test_cables() -> None:
    topology = good("cables")
    first, *_, last = topology.cables
    assert [(end.node, end.interface, str(end.ip), str(end.ip6), end.mac) for end in first.ends] == [
        ("r1", "eth1", "10.0.12.1/24", "fd00:12::1/64", "02:00:00:00:00:01"),
        ("r2", "eth1", "10.0.12.2/24", "fd00:12::2/64", "02:00:00:00:00:02"),
    ]
    assert first.mtu == 9000
    assert [end.ip for end in last.ends] == [ip_interface("10.9.9.0/31"), ip_interface("10.9.9.1/31")]
    assert topology.nodes[0].routes == (
        StaticRoute(ip_network("10.0.23.0/24"), ip_address("10.0.12.2")),
        StaticRoute(ip_network("::/0"), ip_address("fd00:12::2"), "eth1"),
    )


def test_routers() -> None:
    a, r, b = good("routers").nodes
    everywhere = ip_network("0.0.0.0/0")
    assert a.routes == (
        StaticRoute(ip_network("10.2.0.0/24"), ip_address("10.1.0.9")),
        StaticRoute(ip_network("192.0.2.7/32"), dev="eth0", metric=50),
        StaticRoute(everywhere, ip_address("10.1.0.9"), table=100),
    )
    assert (r.forward, a.forward) == (True, False)
    assert b.routes[-1] == StaticRoute(everywhere, dev="lo", table=7)


def test_host_files_and_sysctls() -> None:
    mapped, listed = good("host-files").nodes
    assert (mapped.hostname, mapped.dns) == ("web.example.org", (ip_address("192.0.2.53"),))
    assert mapped.extra_hosts == (("db", ip_address("192.0.2.7")), ("db6", ip_address("2001:db8::7")))
    assert [f"{name} {address}" for name, address in listed.extra_hosts] == [
        "db 192.0.2.7",
        "db6 2001:db8::7",
        "db7 2001:db8::8",
        "db8 2001:db8::9",
    ]
    mapped, listed, dotted = good("sysctls").nodes
    assert dict(mapped.sysctls)["net.core.somaxconn"] == "0x100"
    assert dict(listed.sysctls) == {"net.ipv4.ip_default_ttl": "32", "net.ipv4.ping_group_range": "0 0"}
    assert dict(dotted.sysctls) == {"net.ipv4.conf.eth0/7.rp_filter": "2"}


@pytest.mark.parametrize("name", ["lab.yaml", "lab.yml", "./a/lab.yaml", "lab"])
def test_lab_name_from_the_file(name: str) -> None:
    assert load(b"namespaces: {a: {network_mode: none}}", name).name == "lab"
