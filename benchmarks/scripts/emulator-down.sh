#!/bin/sh
# Tells the emulator of emulator-up.sh to end, and returns when its process has ended.
set -e
: >/run/orders
cat /run/answers
