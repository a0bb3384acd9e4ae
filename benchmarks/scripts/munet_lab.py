"""`munet_lab.py NODES [FOLDER]`: nodes on one bridge by munet's API; FOLDER is served on port 80 by each."""

from __future__ import annotations

import asyncio
import logging
import sys
from pathlib import Path
from typing import Any

from munet.parser import async_build_topology


def topology(nodes: int, folder: str | None) -> dict[str, Any]:
    serve = {"cmd": f"python3 -m http.server 80 --directory {folder}"} if folder else {}
    return {
        "version": 1,
        "config_pathname": "/run/munet.yaml",
        "topology": {
            "ipv6-enable": False,
            "networks": [{"name": "br0", "ip": "10.0.0.1/16"}],
            "nodes": [
                {
                    "name": f"node{number}",
                    "connections": [
                        {"to": "br0", "name": "eth0", "ip": f"10.0.{(number + 1) // 256}.{(number + 1) % 256}/16"}
                    ],
                }
                | serve
                for number in range(1, nodes + 1)
            ],
        },
    }


async def main(nodes: int, folder: str | None) -> None:
    network = await async_build_topology(
        topology(nodes, folder), rundir="/run/munet", unshare_inline=True, top_level_pidns=False
    )
    if folder:
        await network.run()
    with open("/run/answers", "w") as answers:
        answers.write("up\n")
    with open("/run/orders"), open("/run/answers", "w"):  # its end is the answer to `down`
        await network.async_delete()


if __name__ == "__main__":
    Path("/proc/self/comm").write_text("emulator")
    logging.disable(logging.CRITICAL)
    asyncio.run(main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else None))
