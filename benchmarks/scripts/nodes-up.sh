#!/bin/sh
# $1 nodes on one bridge by hand.
set -e
sysctl -qw net.ipv4.ip_forward=1
ip link add br0 type bridge
ip address add 10.0.0.1/16 broadcast + dev br0
ip link set br0 up
nft -f - <<'NFT'
table inet lab {
    chain forward {
        type filter hook forward priority filter; policy accept;
        oifname "br0" ct state established,related accept
        iifname "br0" oifname "br0" accept
        oifname "br0" drop
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 10.0.0.0/16 oifname != "br0" masquerade
    }
}
NFT

for i in $(seq 1 "$1"); do
    ip netns add "node$i"
    ip netns exec "node$i" sysctl -qw net.ipv6.conf.default.disable_ipv6=1
    ip link add "veth$i" master br0 type veth peer name eth0 netns "node$i"
    ip link set "veth$i" up
    ip -n "node$i" link set lo up
    ip -n "node$i" link set eth0 up
    ip -n "node$i" address add "10.0.$(((i + 1) / 256)).$(((i + 1) % 256))/16" broadcast + dev eth0
    ip -n "node$i" route add default via 10.0.0.1
done
