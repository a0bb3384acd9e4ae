#!/bin/sh
# Takes down what two-containers-up.sh built. The veths go with their namespaces, a moment after the script's end.
set -e
for i in 1 2; do
    # shellcheck disable=SC2046  # one word per process
    kill $(ip netns pids "container$i")
    ip netns delete "container$i"
done
ip link delete docker0
nft delete table inet lab
sysctl -qw net.ipv4.ip_forward=0
