#!/bin/sh
# Takes down what nodes-up.sh built for $1 nodes. The veths go with their namespaces, a moment after the script's end.
set -e
for i in $(seq 1 "$1"); do
    ip netns delete "node$i"
done
ip link delete br0
nft delete table inet lab
sysctl -qw net.ipv4.ip_forward=0
