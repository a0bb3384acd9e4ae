#!/bin/sh
# Takes down what batch-up.sh built from folder $1: the host's interfaces by their group, then the names.
set -e
ip link delete group 7
ip -batch "$1/gone"
nft delete table inet lab
sysctl -qw net.ipv4.ip_forward=0
