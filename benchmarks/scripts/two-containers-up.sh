#!/bin/sh
# topologies/two-containers.yaml by hand; $1 is the folder that the web servers serve.
set -e
sysctl -qw net.ipv4.ip_forward=1
ip link add docker0 type bridge
ip address add 172.17.0.1/16 broadcast + dev docker0
ip link set docker0 up

for i in 1 2; do
    ip netns add "container$i"
    ip netns exec "container$i" sysctl -qw net.ipv6.conf.default.disable_ipv6=1
    ip link add "veth$i" master docker0 type veth peer name eth0 address "02:42:ac:11:00:0$((i + 1))" netns "container$i"
    ip link set "veth$i" up
    ip -n "container$i" link set lo up
    ip -n "container$i" link set eth0 up
    ip -n "container$i" address add "172.17.0.$((i + 1))/16" broadcast + dev eth0
    ip -n "container$i" route add default via 172.17.0.1
done

nft -f - <<'NFT'
table inet lab {
    chain forward {
        type filter hook forward priority filter; policy accept;
        oifname "docker0" ct state established,related accept
        iifname "docker0" oifname "docker0" accept
        oifname "docker0" drop
    }
    chain postrouting {
        type nat hook postrouting priority srcnat; policy accept;
        ip saddr 172.17.0.0/16 oifname != "docker0" masquerade
    }
}
NFT

for i in 1 2; do
    ip netns exec "container$i" python3 -m http.server 80 --directory "$1" >/dev/null 2>&1 &
done
