"""Labs in the hands of people: an odd umask, folders without end, a hand in the lab's own table."""

from __future__ import annotations

from kernel.machine import Machine, wait_until
from kernel.watching import lab, service

DIG = "import os, sys, time\nfor _ in range(1500): os.mkdir('d'); os.chdir('d')\n"
DIG += "os.symlink('/etc', 'out'); open('f', 'x')"
WEB = "name: lab\nbridges: {lan: {subnet: 10.9.0.0/24}}\nnamespaces: {web: {networks: [lan], ports: ['8080:80']}}\n"


def test_services_of_other_users_read_their_files_whatever_the_umask(machine: Machine) -> None:
    machine.ok(f"umask 077; labctl up {lab(machine, 'main: {command: cat /etc/hosts /etc/resolv.conf, user: nobody}')}")
    wait_until(lambda: not service(machine)["pids"])
    assert machine.ok("labctl logs node").startswith("127.0.0.1\tlocalhost\n")
    assert service(machine)["exit_status"] == 0


def test_folders_deeper_than_a_path_can_go_are_removed(machine: Machine) -> None:
    machine.write("dig.py", DIG)
    dig = "main: {command: python3 -IS /run/scratch/dig.py, user: nobody}"
    machine.up(lab(machine, dig))
    wait_until(lambda: not service(machine)["pids"])
    machine.up(machine.topology("lab", "name: lab\nnamespaces: {node: {network_mode: none}}\n"))
    assert machine.run("ls /run/labctl/lab/run").status != 0
    machine.up(lab(machine, dig))
    wait_until(lambda: not service(machine)["pids"])
    machine.prove_clean()


def test_a_translation_that_somebody_added_by_hand_is_in_nobodys_way(machine: Machine) -> None:
    file = machine.topology("lab", WEB)
    machine.up(file)
    element = 'tcp . 9090 comment "my, own" : 10.9.0.2 . 90'
    machine.ok(f"nft add element inet labctl-lab published4 '{{ {element} }}'")
    machine.up(file)
    assert element not in machine.ok("nft list table inet labctl-lab")
    machine.ok(f"nft add element inet labctl-lab published4 '{{ {element} }}'")
    machine.ok("labctl down")


def test_services_have_the_limit_of_open_files_that_labctl_was_started_with(machine: Machine) -> None:
    machine.ok(f"ulimit -Sn 512; labctl up {lab(machine, 'main: ulimit -Sn')}")
    wait_until(lambda: not service(machine)["pids"])
    assert machine.ok("labctl logs node") == "512\n"


def test_a_link_in_the_scratch_folder_leads_nobody_where_he_may_not_go(machine: Machine) -> None:
    machine.ok("mkdir -p /run/scratch/root/open && chmod 700 /run/scratch/root")
    link = "main: {command: ln -s /run/scratch/root/open wd, user: nobody, ready: test -L wd, restart: always}"
    machine.up(lab(machine, f"{link}, other: {{command: pwd, user: nobody, working_dir: wd, depends_on: node/main}}"))
    wait_until(lambda: not service(machine, "other")["pids"])
    assert machine.ok("labctl logs node other") == "labctl: working_dir wd: Permission denied\n"
