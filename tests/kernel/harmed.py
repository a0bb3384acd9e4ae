"""The labs that saboteur.py harms, and all that they are or may leave behind."""

from __future__ import annotations

import re

BEFORE = """
name: lab
bridges:
  lan: {subnet: [10.7.0.0/24, 'fd07::/64'], mtu: 1400}
  back: {subnet: 10.8.0.0/24, internal: true, icc: false}
namespaces:
  a:
    networks: [lan]
    run: exec sleep 1000
    sysctls: {net.ipv4.ip_default_ttl: 40}
    ports: ["8080:80", "53:53/udp"]
  b: {networks: [lan, back], hostname: bee, forward: true}
  s: {network_mode: namespace:a, run: exec sleep 1004}
  h: {network_mode: host, run: exec sleep 1005}
links: [{endpoints: [{node: a, interface: c0, ip: 10.9.0.1/24}, {node: b, interface: c0, ip: 10.9.0.2/24}]}]
"""
AFTER = """
name: lab
bridges:
  lan: {subnet: [10.7.0.0/24, 'fd07::/64'], gateway: [10.7.0.9, 'fd07::1']}
  new: {subnet: 10.6.0.0/24}
namespaces:
  a:
    networks: [lan, new]
    ports: ["8080:81", "127.0.0.1:8081:80"]
    run: {main: exec sleep 1001, other: exec sleep 1002}
    routes: [{to: 10.5.0.0/24, via: 10.9.0.3}]
  c: {networks: [new], run: exec sleep 1003}
  s: {network_mode: namespace:c, run: exec sleep 1004}
  h: {network_mode: namespace:a, run: exec sleep 1005}
  k: {network_mode: host, run: exec sleep 1006}
links: [{endpoints: [{node: a, interface: c0, ip: 10.9.0.1/24}, {node: c, interface: c0, ip: 10.9.0.3/24}], mtu: 1300}]
"""
VIEW = """
nft -s list ruleset
look() {
  for what in "-details link" address "-4 route show table all" "-6 route show table all" "-4 rule"; do
    "$@" -oneline $what
  done
}
look ip
for name in $(ls /run/netns 2>/dev/null); do
  { look ip -n "$name"
    ip netns exec "$name" grep -rs . /proc/sys/net/ipv4/ip_default_ttl /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf
  } | sed "s/^/$name: /"
done
grep -s . /proc/sys/net/ipv4/ip_forward /proc/sys/net/ipv4/conf/*/forwarding /proc/sys/net/ipv6/conf/*/forwarding
cat /proc/self/mountinfo
find /run /etc/netns -path /run/scratch -prune -o -path /run/etc -prune -o -printf '%p %M %U %l\\n'
"""
# By chance or by time: counters of namespaces, timers, an address still tried and its routes, a mount's number.
CHANGING = re.compile(
    r"^.*(?:anycast|local) fe80::.*\n"
    r"| link-netnsid \w+| \w*timer +\S+| tentative| promiscuity \d+| allmulti \d+|^\d+ \d+ (?=\d+:)| shared:\d+"
    r"|designated_\w+ \S+|LOWER_UP|NO-CARRIER|,,|M-DOWN| linkdown| state \w+|qdisc \w+|net:\[\d+\]"
    r"| port_(?:id|no) \S+| valid_lft \S+| preferred_lft \S+",
    re.MULTILINE,
)
