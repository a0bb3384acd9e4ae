"""The worst files that are known, as large as a file may be: each is answered within bounds by the real command.

What reading them must not do is grow with the square: compare all with all, hint at all, remember all. Each shape here
took seconds or hundreds of megabytes at some time, or would if one step of the reading forgot its bound.
"""

from __future__ import annotations

import re
import resource
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path

import pytest

from labctl.document import MAX_BYTES, MAX_VALUES
from labctl.errors import MAX_PROBLEMS

# The kernel's own measures, so that a busy machine fails nothing: processor time, and memory that was allocated. Both
# are about twice what the worst file takes, and a tenth of what a step takes that compares all with all.
SECONDS = 2
MEMORY = 170 << 20  # the interpreter's files, mapped and shared, are some 30 MB more: together 200 MB

Item = Callable[[int], str]


@dataclass(frozen=True)
class File:
    """A text that repeats something as often as it may: up to the limit of values, or of bytes."""

    said: str  # a part of the answer, which shows how far the reading came
    head: str
    item: Item
    tail: str = ""
    values: float = 0  # of one item
    most: int = MAX_BYTES

    def text(self) -> bytes:
        room = MAX_VALUES - 10 - len(re.findall(r"[\[{,:]", self.head + self.tail))
        times = min(self.most, int(room / self.values)) if self.values else self.most
        return (self.head + "".join(self._items(times)) + self.tail).encode(errors="surrogateescape")

    def _items(self, times: int) -> Iterator[str]:
        left = MAX_BYTES - len(self.head + self.tail)
        for number in range(times):
            text = self.item(number)
            left -= len(text.encode())
            if left < 0:
                return
            yield text


def many(times: int, item: Item) -> str:
    return ", ".join(map(item, range(times)))


def ip(number: int) -> str:
    return str(IPv4Address((10 << 24) + number))


# Addresses and networks that Python's own hashes cannot tell apart: they are equal modulo 2**61 - 1.
def alike(number: int) -> str:
    return str(IPv6Address((0x20 << 120) + number * (2**61 - 1)))


def alike_network(number: int) -> str:
    mask = 2**128 - 2**16
    return f"{IPv6Address(((number + 2**44) * (2**61 - 1) * 2**16) % 2**128 ^ mask)}/112"


BRIDGE = "bridges: {x: {subnet: [10.0.0.0/8, 'fd00::/64']}}\n"
ONE = "namespaces: {a: {network_mode: none}}\n"
IN_A = "namespaces: {a: {network_mode: none, "
ON_X = BRIDGE + "namespaces: {a: {networks: [x], routes: ["
AND_ONE = "namespaces: {a: {networks: [b1]}}"
TWO = "namespaces: {a: {}, b: {}}\nlinks:\n"

FILES = {
    # values of every kind and no meaning
    "list": File("no 'namespaces'", "a: [", lambda _: "x,", "]", 1),
    "list-of-maps": File("no 'namespaces'", "a: [", lambda _: "{},", "]", 1),
    "list-of-pairs": File("no 'namespaces'", "a: [", lambda _: "x: y,", "]", 2),
    "nested": File("no 'namespaces'", "a: [", lambda _: "{a: " * 15 + "}" * 15 + ",", "]", 16),
    "aliases": File("no 'namespaces'", "a: &a x\nb: [", lambda _: "*a,", "]", 1),
    "anchors": File("no 'namespaces'", "a: [", lambda n: f"&a{n} x,", "]", 1),
    "floats": File("no 'namespaces'", "a: [", lambda _: "9" * 300 + "." + "1" * 300 + "e-300,", "]", 8),
    "keys": File("unknown key 'k0'", "", lambda n: f"? k{n}\n: 1\n", "", 1),
    "like-keys": File("did you mean 'namespaces'", "", lambda n: f"namespacez{n}:\n", "", 1),
    "duplicates": File("duplicate key 'a'", "", lambda _: "a: 1\n"),
    "too-many": File("more than 25000 values", "a: [", lambda _: "x,", "]"),
    # much text and few values
    "comments": File("good", ONE, lambda _: "#\n"),
    "comments-first": File("good", "", lambda _: "#\n", ONE),
    "blank-lines": File("does not end", "", lambda _: "\n", "a: '"),
    "spaces": File("good", ONE, lambda _: " "),
    "text": File("good", IN_A + "run: '", lambda _: "\U0001f600", "'}}"),
    "escapes": File("good", IN_A + 'run: "', lambda _: "\\x41", '"}}'),
    "lines": File("good", IN_A + "run: '", lambda _: "\n\n x", "'}}"),
    "block": File("good", "namespaces:\n a:\n  network_mode: none\n  run: |\n", lambda _: "   x\n"),
    "digits": File("must be a whole number", "namespaces: {a: {count: ", lambda _: "9", "}}"),
    "hostname": File("cannot be a host's name", IN_A + "hostname: ", lambda _: "a.", "}}"),
    "sysctl": File("good", IN_A + "sysctls: ['net", lambda _: ".a", "=1']}}"),
    "address": File("is not an IP address", IN_A + "dns: '", lambda _: "1:", "'}}"),
    "not-utf-8": File("not UTF-8", "", lambda _: "\n", "\udcff"),
    "directives": File("YAML directive", "", lambda _: "%x\n", "---\n"),
    "directives-after-a-carriage-return": File("YAML directive", "#\r", lambda n: f"%TAG !{n}! x\r", "---\r"),
    "documents": File("second document", ONE, lambda _: "---\n"),
    "indents": File("nested more than", "", lambda n: " " * n + "a:\n"),
    # faults of shape
    "wrong-types": File("must be a mapping", "namespaces:\n", lambda n: f" a{n}: 1\n", "", 1),
    "wrong-values": File("'a0' must be", IN_A + "environment: {", lambda n: f"a{n}: [],", "}}}", 1),
    "wrong-items": File("item 1 of 'run'", IN_A + "run: [", lambda _: "{},", "]}}", 1),
    "empty-bridges": File("bridge 'a0' is empty", "bridges:\n", lambda n: f" a{n}:\n", ONE, 1),
    "empty-links": File("has no 'endpoints'", ONE + "links: [", lambda _: "{},", "]", 1),
    "empty-routes": File("has no 'to'", ON_X, lambda _: "{},", "]}}", 1),
    "unknown-keys": File("'subnet'?", ONE + "bridges: {", lambda n: f"b{n}: {{subnt: 1}},", "}", 2),
    # bridges
    "bridges": File("good", "bridges:\n", lambda n: f" b{n}: {{subnet: {ip(4 * n)}/30}}\n", AND_ONE, 2),
    "bridges-alike": File("good", "bridges:\n", lambda n: f" b{n}: {{subnet: '{alike_network(n)}'}}\n", AND_ONE, 2),
    "overlaps": File("overlaps", "bridges:\n", lambda n: f" b{n}: {{subnet: 10.{n % 99}.0.0/16}}\n", AND_ONE, 2),
    "no-free-subnet": File(
        "one of 10.0.0.0/8",
        "bridges:\n p: {subnet: 172.16.0.0/12}\n q: {subnet: 192.168.0.0/16}\n r: {subnet: 10.0.0.0/30}\n",
        lambda n: f" b{n}: {{subnet: {ip(4 * n)}/30}}\n",
        AND_ONE,
        2,
    ),
    "unreadable-bridges": File(
        "'q' is not a subnet",
        f"bridges: {{{many(5000, lambda n: f'b{n}: {{subnet: q}}')}}}\nnamespaces:\n",
        lambda n: f" a{n}: {{networks: [b{n}]}}\n",
        "",
        3,
    ),
    # namespaces
    "namespaces": File("good", "namespaces: {", lambda n: f"a{n}: {{network_mode: none}},", "}", 2, 9999),
    "no-networks": File("has no networks", "namespaces: {", lambda n: f"a{n}: {{}},", "}", 1),
    "one-to-one": File(
        "good",
        f"bridges: {{{many(4900, lambda n: f'b{n}: {{subnet: {ip(4 * n)}/30}}')}}}\nnamespaces:\n",
        lambda n: f" a{n}: {{networks: [b{n}]}}\n",
        "",
        3,
        4900,
    ),
    "counted": File("more than 10000", "namespaces:\n", lambda n: f" a{n}: {{count: 9999}}\n", "", 2),
    "clashes": File(
        "also made by",
        "namespaces:\n a: {count: 5000, network_mode: none}\n",
        lambda n: f" a-{n}: {{network_mode: none}}\n",
        "",
        2,
        5000,
    ),
    "merged": File("good", "namespaces:\n a0: &a {network_mode: none}\n", lambda n: f" b{n}: {{<<: *a}}\n", "", 3),
    "copied": File("on one bridge", BRIDGE + "namespaces:\n a: &a {networks: [x]}\n", lambda n: f" b{n}: *a\n", "", 3),
    "same-address": File(
        "already the address",
        BRIDGE + "namespaces:\n",
        lambda n: f" a{n}: {{networks: {{x: {{ip: 10.0.0.2}}}}}}\n",
        "",
        4,
    ),
    "addresses-alike": File(
        "on one bridge",
        "bridges: {x: {subnet: '2000::/8'}}\nnamespaces:\n",
        lambda n: f" a{n}: {{networks: {{x: {{ip6: '{alike(n + 2)}'}}}}}}\n",
        "",
        4,
    ),
    "hosts": File("good", IN_A + "extra_hosts: {", lambda n: f"h{n}: '1:2:3:4:5:6:7:{n:x}',", "}}}", 1),
    "last-hosts": File(
        "cannot be a host's name",
        IN_A + "extra_hosts: [",
        lambda n: f"{'h' if n < 24_800 else '-'}{n}=1.2.3.4,",
        "]}}",
        1,
    ),
    "no-addresses": File("is not an IP address", IN_A + "dns: [", lambda _: "z,", "]}}", 1),
    "same-bridge": File("listed twice", BRIDGE + "namespaces: {a: {networks: [", lambda _: "x,", "]}}", 1),
    "processes": File("good", IN_A + "run: {", lambda n: f"k{n}: {{command: x}},", "}}}", 2),
    # routes
    "routes": File("good", ON_X, lambda n: f"{{to: 'fd01::{n:x}', via: 'fd00::9'}},", "]}}", 3),
    "routes-alike": File("good", ON_X, lambda n: f"{{to: '{alike(n)}', dev: eth0}},", "]}}", 3),
    "routes-by-all": File(
        "good",
        "bridges: {"
        + many(2000, lambda n: f"b{n}: {{subnet: '{0x2000 + n:x}::/{64 + n % 60}'}}")
        + f"}}\nnamespaces: {{a: {{networks: [{many(2000, lambda n: f'b{n}')}], routes: [",
        lambda n: f"{{to: 'fd01::{n:x}', via: '{0x2000 + n % 2000:x}::2'}},",
        "]}}",
        3,
    ),
    "routes-nowhere": File("not on a network", ON_X, lambda n: f"{{to: {ip(n)}, via: 11.0.0.1}},", "]}}", 3),
    "routes-unknown": File("no interface 'eth1'", ON_X, lambda n: f"{{to: {ip(n)}, dev: eth{n + 1}}},", "]}}", 3),
    "routes-and-an-unknown-bridge": File(
        "unknown bridge 'y'",
        "namespaces: {a: {networks: [y], routes: [",
        lambda n: f"{{to: {ip(n)}, dev: {'a' * 14}}},",
        "]}}",
        3,
    ),
    # links
    "links": File("good", TWO, lambda n: f"- endpoints: ['a:eth{n}','b:eth{n}']\n", "", 4),
    "same-interface": File("has an interface", TWO, lambda _: "- endpoints: ['a:eth1','b:eth1']\n", "", 4),
    "unread-links": File("names no interface", TWO, lambda _: "- endpoints: ['a','b']\n", "", 4),
    # hints: what difflib finds slow
    "like-bridges": File(
        "did you mean",
        f"bridges: {{{many(3000, lambda n: f'aaaaaaaaaaa{n}: {{subnet: {ip(4 * n)}/30}}')}}}\nnamespaces:\n",
        lambda n: f" a{n}: {{networks: [aaaaaaaaaaax{n}]}}\n",
        "",
        3,
    ),
    "like-namespaces": File(
        "did you mean",
        f"namespaces: {{{many(5000, lambda n: f'{chr(97) * 28}{n}: {{network_mode: none}}')}}}\nlinks:\n",
        lambda _: f"- endpoints: [{'a' * 32}:e0,{'a' * 31}b:e1]\n",
        "",
        4,
    ),
    "waits": File(
        "more than 100000 times",
        f"namespaces: {{a: {{network_mode: none, run: {{{many(4000, lambda n: f'p{n}: x')}}}}}, "
        f"b: {{network_mode: none, depends_on: a, run: {{{many(4000, lambda n: f'p{n}: x')}}}}}}}",
        str,
        most=0,
    ),
    "waits-by-name": File(
        "good",
        f"namespaces: {{a: {{network_mode: none, run: {{{many(6000, lambda n: f'p{n}: x')}}}}}, "
        "b: {network_mode: none, run: x, depends_on: [",
        lambda n: f"a/p{n % 6000},",
        "]}}",
        1,
    ),
}


def limits() -> None:
    """Beyond them the kernel ends the process or gives it no memory (without any, jsonschema-rs may wait for ever)."""
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))


@pytest.mark.parametrize("name", FILES)
def test_hostile_file_is_answered_within_bounds(name: str, tmp_path: Path) -> None:
    file = tmp_path / "lab.yaml"
    file.write_bytes(FILES[name].text())
    command = [sys.executable, "-m", "labctl", "validate", str(file)]
    done = subprocess.run(command, capture_output=True, text=True, preexec_fn=limits, timeout=100)
    lines = done.stderr.splitlines()
    assert (done.returncode, bool(done.stdout), bool(lines)) in [(0, True, False), (2, False, True)], lines[-1:]
    assert all(re.fullmatch(rf"{re.escape(str(file))}:[1-9]\d*:[1-9]\d*: .+", line) for line in lines)
    assert len(lines) <= MAX_PROBLEMS + 1
    assert FILES[name].said in done.stdout + done.stderr
