#!/bin/sh
# Starts an emulator ("$@") whose network lives as long as its process, and returns when it says that the network is
# up: it answers on one fifo, and waits for the order to end on the other.
set -e
rm -f /run/orders /run/answers
mkfifo /run/orders /run/answers
"$@" </dev/null &
read -r answer </run/answers
[ "$answer" = up ]
