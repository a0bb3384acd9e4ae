"""`mininet_lab.py NODES [FOLDER]`: nodes on one Linux bridge by Mininet's API; FOLDER is served on port 80 by each."""

from __future__ import annotations

import sys
from pathlib import Path

from mininet.log import setLogLevel
from mininet.net import Mininet
from mininet.nodelib import LinuxBridge


def main(nodes: int, folder: str | None) -> None:
    setLogLevel("critical")
    net = Mininet(switch=LinuxBridge, controller=None)
    bridge = net.addSwitch("s1")
    for number in range(1, nodes + 1):
        address = f"10.0.{(number + 1) // 256}.{(number + 1) % 256}/16"
        net.addLink(net.addHost(f"h{number}", ip=address, defaultRoute="via 10.0.0.1"), bridge)
    net.start()
    if folder:
        for host in net.hosts:
            host.cmd(f"python3 -m http.server 80 --directory {folder} >/dev/null 2>&1 </dev/null &")
    with open("/run/answers", "w") as answers:
        answers.write("up\n")
    with open("/run/orders"), open("/run/answers", "w"):  # its end is the answer to `down`
        if folder:
            for host in net.hosts:
                host.cmd("kill %1")
        net.stop()


if __name__ == "__main__":
    Path("/proc/self/comm").write_text("emulator")
    main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None)
