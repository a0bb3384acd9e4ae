#!/bin/sh
# Builds what the batches in folder $1 say: one ip for the host, one for each namespace.
set -e
sysctl -qw net.ipv4.ip_forward=1
ip -batch "$1/host"
nft -f "$1/rules"
for node in "$1"/nodes/*; do
    ip -n "${node##*/}" -batch "$node"
done
ip -batch "$1/up"
