"""Podman in a room: Debian's package, unpacked into .cache, with runc and the CNI plugins that it needs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks import docker, packages
from benchmarks.room import Failure, Room

ROOT = packages.CACHE / "podman"
PARENT = "labctl-podman-"  # of its containers' control groups
OPTIONS = "--cgroups no-conmon --cgroup-parent"
# The loader's cache of the room knows the unpacked libraries: conmon keeps no LD_LIBRARY_PATH for runc. Containers'
# images and networks would be in /var/lib: here that is a layer that dies with the room's /run.
PREPARE = """
mkdir -p /run/var/upper /run/var/work /etc/containers
mount -t overlay -o lowerdir=/var/lib,upperdir=/run/var/upper,workdir=/run/var/work overlay /var/lib
echo {libraries} >/etc/ld.so.conf.d/podman.conf
ldconfig
echo '{{"default": [{{"type": "insecureAcceptAnything"}}]}}' >/etc/containers/policy.json
"""
CONTAINERS = """
[network]
network_backend = "cni"
cni_plugin_dirs = ["{root}/usr/lib/cni"]
network_config_dir = "/run/cni"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "none"
conmon_path = ["{root}/usr/bin/conmon"]
runtime = "runc"
[engine.runtimes]
runc = ["{root}/usr/sbin/runc"]
[containers]
log_driver = "none"
"""
STORAGE = """
[storage]
driver = "overlay"
graphroot = "{folder}/graph"
runroot = "/run/containers/storage"
"""


@contextmanager
def running(folder: Path) -> Iterator[Room]:
    """A room with Podman and the image; raises Failure where that does not work."""
    engine = docker.find()
    if not (ROOT / "usr/bin/podman").exists() or not engine:
        raise Failure(packages.missing("podman"))
    configurations = {"CONTAINERS_CONF": folder / "containers.conf", "CONTAINERS_STORAGE_CONF": folder / "storage.conf"}
    environment = packages.environment(ROOT) | {name: str(path) for name, path in configurations.items()}
    del environment["LD_LIBRARY_PATH"]
    try:
        with Room(folder, environment, daemons=("conmon",)) as room:
            configurations["CONTAINERS_CONF"].write_text(CONTAINERS.format(root=ROOT))
            configurations["CONTAINERS_STORAGE_CONF"].write_text(STORAGE.format(folder=folder))
            room.run(["sh", "-ec", PREPARE.format(libraries=packages.libraries(ROOT))])
            room.run(["podman", "import", str(docker.image(engine, folder)), docker.IMAGE])
            yield room
    finally:
        docker.forget(PARENT, os.getpid())
