"""Services as people have them: other users, long logs, and Debian's nginx, redis and dnsmasq."""

from __future__ import annotations

import pytest

from kernel.machine import Machine, each_way, needs, only_root, wait_until
from kernel.watching import lab, service, services

# --- users -----------------------------------------------------------------------------------------------------------


@each_way
def test_users(machine: Machine, option: str) -> None:
    say = "echo $(id -u) $(id -g) $(id -G) $HOME $USER $LOGNAME; touch $(id -u).file; echo >&2 e; echo o >>/dev/stdout"
    ways = {"named": "www-data", "number": "33", "group": "www-data:nogroup", "free": "4711", "ids": '"4711:12"'}
    processes = [f"{name}: {{command: '{say}', user: {user}}}" for name, user in ways.items()]
    machine.ok("echo extra:x:777:www-data >>/etc/group")
    machine.up(lab(machine, ", ".join([*processes, "own: {command: id -u, user: 0}"])), option)
    wait_until(lambda: not any(s["pids"] for s in services(machine).values()))
    logs = {name: machine.ok(f"labctl logs node {name}").splitlines() for name in ways}
    own = "33 33 33 777 /var/www www-data www-data"
    assert logs == {
        "named": [own, "e", "o"],
        "number": [own, "e", "o"],
        "group": ["33 65534 65534 /var/www www-data www-data", "e", "o"],
        "free": ["4711 0 0 /", "e", "o"] if option != "rootless" else logs["free"],
        "ids": ["4711 12 12 /", "e", "o"] if option != "rootless" else logs["ids"],
    }
    assert machine.ok("labctl logs node own") == "0\n"


# --- logs ------------------------------------------------------------------------------------------------------------

TALK = "i=0; while [ $i -lt 600 ]; do head -c 100000 /dev/zero | tr '\\\\0' x; i=$((i + 1)); echo; echo line $i; done"


def test_a_log_stays_small_and_is_followed(machine: Machine) -> None:
    """60 MB are written, and followed from the first line to the last."""
    machine.up(lab(machine, "main: exec sleep 1000"))
    following = machine.start("exec labctl logs -f node | grep --line-buffered line")
    machine.ok("mkfifo /run/labctl/lab/run/node/go")
    machine.up(lab(machine, f'main: {{command: "read x <go; {TALK}; exec sleep 1001"}}'))
    machine.ok("echo >/run/labctl/lab/run/node/go")
    assert following.stdout
    lines = []
    for line in following.stdout:
        lines.append(line)
        if line == "line 600\n":
            break
    numbers = [int(line.split()[1]) for line in lines]
    assert numbers == sorted(set(numbers))  # one who reads slower than 10 MiB a second may miss some, and none twice
    assert (numbers[0], numbers[-1]) == (1, 600)
    log = machine.path("/run/labctl/lab/log/node.main.log")
    wait_until(lambda: log.stat().st_blocks * 512 <= 21 << 20)
    assert log.stat().st_size > 60_000_000
    kept = machine.ok("labctl logs node | grep line").splitlines()
    assert kept == [f"line {number}" for number in range(601 - len(kept), 601)]
    assert len(kept) >= 90
    assert machine.ok("labctl logs --tail 1 node main") == "line 600\n"
    machine.ok("labctl down")
    assert following.wait(timeout=10) == 0  # the log has gone


def test_logs_of_several_are_told_apart(machine: Machine) -> None:
    file = lab(machine, "a: echo 1; echo 2, long: {command: 'echo x; exit 1', restart: on-failure:1}, none: 'true'")
    machine.up(file)
    wait_until(lambda: service(machine, "long")["restarts"] == 1 and not service(machine, "long")["pids"])
    assert machine.ok("labctl logs node").splitlines() == ["a    | 1", "a    | 2", "long | x", "long | x"]
    assert machine.ok("labctl logs node -n 1").splitlines() == ["a    | 2", "long | x"]
    assert machine.ok("labctl logs node long -n 0") == ""
    wrong = machine.run("labctl logs node -n some")
    assert (wrong.status, wrong.stdout) == (2, "")
    assert "--tail takes a number of lines or 'all', not 'some'" in wrong.stderr


# --- real daemons ----------------------------------------------------------------------------------------------------

NGINX = """
name: lab
bridges: {b: {subnet: 10.0.0.0/24}}
namespaces:
  web:
    networks: [b]
    run:
      main:
        command: |
          mkdir -p /run/scratch/nginx
          printf 'It works!' >/run/scratch/nginx/index.html
          cat >/run/scratch/nginx.conf <<END
          user www-data; pid /run/scratch/nginx.pid; error_log stderr; DAEMON
          events {}
          http {
            access_log /dev/stdout; client_body_temp_path /run/scratch/nginx/b; proxy_temp_path /run/scratch/nginx/p;
            server { listen 80; root /run/scratch/nginx; }
          }
          END
          exec nginx -c /run/scratch/nginx.conf
        ready: tcp 80
        restart: RESTART
  client: {networks: [b], depends_on: web, run: "curl -s 10.0.0.2"}
"""


@needs("nginx", "curl")
@pytest.mark.parametrize("background", [False, True], ids=["foreground", "background"])
def test_nginx(machine: Machine, background: bool) -> None:
    """It writes its title over its environment and, as Debian has it, goes into the background."""
    text = NGINX.replace("DAEMON", "" if background else "daemon off;").replace(
        "RESTART", "no" if background else "always"
    )
    file = machine.topology("lab", text)
    machine.up(file)
    wait_until(lambda: machine.ok("labctl logs client") == "It works!")
    wait_until(lambda: "GET / HTTP" in machine.ok("labctl logs web"))
    before = services(machine)["web/main"]["pids"]
    assert services(machine)["web/main"]["state"] == "running"
    assert set(machine.ok("ps -o user= -C nginx").split()) == {"root", "www-data"}
    assert "web/main" not in machine.ok(f"labctl plan {file}")
    machine.up(machine.topology("lab", text.replace("It works!", "Changed!")))
    assert machine.ok("labctl exec client -- curl -s 10.0.0.2") == "Changed!"
    after = services(machine)["web/main"]["pids"]
    assert after
    assert not set(before) & set(after)
    machine.ok("labctl down")
    assert machine.processes() == machine.before["processes"]


@only_root
@needs("nginx")
def test_a_node_that_only_nginx_keeps(machine: Machine) -> None:
    """Its mount is gone, and so are its marks, under the title: its status file tells what it is."""
    file = machine.topology("lab", NGINX.replace("DAEMON", "daemon off;").replace("RESTART", "no"))
    machine.up(file)
    before = machine.inside("web", "readlink /proc/self/ns/net"), services(machine)["web/main"]["pids"]
    machine.ok("umount /run/labctl/lab/netns/web")
    machine.up(file)
    assert machine.inside("web", "readlink /proc/self/ns/net") == before[0]
    machine.ok("umount /run/labctl/lab/netns/web")
    machine.ok("labctl down lab")
    assert machine.processes() == machine.before["processes"]


REDIS = """
name: lab
bridges: {b: {subnet: 10.0.0.0/24}}
namespaces:
  cache:
    networks: [b]
    run:
      main:
        command: [redis-server, --bind, 0.0.0.0, --save, "", --protected-mode, "no"]
        user: redis
        ready: "redis-cli ping | grep -q PONG"
        restart: on-failure
  client: {networks: [b], depends_on: cache/main, run: redis-cli -h 10.0.0.2 set key value}
"""


@needs("redis-server", "redis-cli")
@each_way
def test_redis(machine: Machine, option: str) -> None:
    machine.ok("getent passwd redis || echo redis:x:111:111::/var/lib/redis:/bin/false >>/etc/passwd")
    null = machine.ok("stat -c '%u %g %a' /dev/null")
    machine.up(machine.topology("lab", REDIS), option)
    assert machine.ok("stat -c '%u %g %a' /dev/null") == null  # its log is the user's, and nothing else
    wait_until(lambda: machine.ok("labctl logs client") == "OK\n")
    [before] = services(machine)["cache/main"]["pids"]
    machine.run("labctl exec cache -- redis-cli debug segfault")
    machine.ok(f"kill -SEGV {before}" if option != "rootless" else f"user kill -KILL {before} || kill -KILL {before}")
    wait_until(lambda: services(machine)["cache/main"]["pids"] not in ([], [before]))
    wait_until(lambda: machine.run("labctl exec client -- redis-cli -h 10.0.0.2 get key").stdout == "\n")
    assert services(machine)["cache/main"]["restarts"] == 1


@needs("dnsmasq")
def test_dnsmasq(machine: Machine) -> None:
    command = (
        "[dnsmasq, --keep-in-foreground, --no-resolv, --pid-file=, --address=/www.example.org/192.0.2.7, --user=root]"
    )
    machine.up(lab(machine, f"main: {{command: {command}, ready: udp 53}}"))
    question = "000101000001000000000000" + "03777777076578616d706c65036f72670000010001"  # www.example.org, A
    ask = "import socket; s = socket.socket(2, 2); s.settimeout(9);"
    ask += f" s.sendto(bytes.fromhex('{question}'), ('127.0.0.1', 53)); print(s.recv(512)[-4:].hex())"
    assert machine.inside("node", f'python3 -c "{ask}"') == "c0000207\n"
