"""All verbs, options and help, declared with Typer. What a verb does is in the module of its name."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from labctl import __version__

app = typer.Typer(
    help="Docker's networking without Docker: a YAML file in, a real network out, nothing left behind.",
    no_args_is_help=True,
    add_completion=True,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

File = Annotated[str, typer.Argument(help="A topology file, '-', or the name of a shipped one.")]
Lab = Annotated[str | None, typer.Argument(help="A lab's name or its file. Default: the only one running.")]
Node = Annotated[str, typer.Argument(help="NODE or LAB/NODE; 'host' is the lab's host.")]
Network = Annotated[str, typer.Argument(help="One of the lab's bridges.")]
Isolated = Annotated[bool, typer.Option("--isolated", help="Give the lab a private host namespace.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def _version(asked: bool) -> None:
    if asked:
        print(f"labctl {__version__}")
        raise typer.Exit


@app.callback()
def labctl(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print it.")] = False,
) -> None:
    pass


@app.command()
def up(
    file: File,
    isolated: Isolated = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and do nothing.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Print each operation as shell.")] = False,
) -> None:
    """Bring a lab up, or to the state its file describes now."""
    from labctl.cli import up

    up.run(file, isolated, dry_run, verbose)


@app.command()
def down(
    lab: Lab = None,
    everything: Annotated[bool, typer.Option("--all", help="Every lab of this machine.")] = False,
) -> None:
    """Take a lab down; nothing of it is left."""
    from labctl.cli import down

    down.run(lab, everything)


@app.command()
def plan(
    file: File,
    isolated: Isolated = False,
    as_json: Json = False,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="Exit with 1 when there is a difference.")] = False,
) -> None:
    """Print what `up` would do, as a shell script that does the same."""
    from labctl.cli import up

    up.plan(file, isolated, as_json, exit_code)


@app.command()
def validate(
    files: Annotated[list[str], typer.Argument(metavar="FILE...", help="Topology files.")],
    as_json: Json = False,
) -> None:
    """Check topology files and say everything that is wrong with them."""
    from labctl.cli import files as checked

    sys.exit(checked.validate(files, as_json))


@app.command()
def schema() -> None:
    """Print the JSON Schema of topology files, for editors."""
    from labctl.cli import files

    files.schema()


@app.command()
def init(
    template: Annotated[str, typer.Argument(help="A shipped topology.")] = "two-containers",
    output: Annotated[str, typer.Option("--output", "-o", help="The new file; '-' prints it.")] = "topology.yaml",
) -> None:
    """Write a starter file."""
    from labctl.cli import files

    files.init(template, output)


@app.command()
def ps(
    lab: Annotated[str | None, typer.Argument(help="A lab's name or its file. Default: all labs.")] = None,
    whole: Annotated[
        bool, typer.Option("--all", "-a", help="Every node, also where many are alike; a pipe always has every one.")
    ] = False,
    as_json: Json = False,
) -> None:
    """List labs and their nodes."""
    from labctl.cli import ps

    ps.run(as_json, lab, whole)


@app.command()
def show(
    lab: Lab = None,
    sections: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[SECTION]...", help="links bridges addresses routes ports neighbours counters services rules"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Show a lab's network: veth pairs, bridges, addresses, routes, neighbours, counters."""
    from labctl.cli import show

    show.run(lab, sections or [], as_json)


@app.command(context_settings={"allow_interspersed_args": False, "ignore_unknown_options": False})
def exec(
    node: Node,
    command: Annotated[list[str], typer.Argument(metavar="COMMAND...", help="What to run there.")],
    environment: Annotated[list[str] | None, typer.Option("--env", "-e", metavar="NAME=VALUE")] = None,
    directory: Annotated[str | None, typer.Option("--workdir", "-w", help="Where to start it.")] = None,
) -> None:
    """Run a command in a node, as `docker exec` does."""
    from labctl.cli import exec_

    exec_.run(node, command[command[0] == "--" :], environment or [], directory)


@app.command()
def shell(node: Node) -> None:
    """Open a shell in a node."""
    from labctl.cli import exec_

    exec_.shell(node)


@app.command()
def logs(
    node: Node,
    service: Annotated[str | None, typer.Argument(help="One of its services. Default: all.")] = None,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on with what comes.")] = False,
    tail: Annotated[str, typer.Option("--tail", "-n", metavar="LINES", help="The last ones only, or 'all'.")] = "all",
) -> None:
    """Print what a node's services wrote."""
    from labctl.cli import logs

    logs.run(node, service, follow, tail)


@app.command()
def connect(
    node: Node,
    network: Network,
    ip: Annotated[str | None, typer.Option(help="Its IPv4 address there. Default: the lowest free one.")] = None,
    ip6: Annotated[str | None, typer.Option(help="Its IPv6 address there. Default: the lowest free one.")] = None,
    aliases: Annotated[list[str] | None, typer.Option("--alias", help="One more name by which others find it.")] = None,
    interface: Annotated[str | None, typer.Option(help="Its name inside. Default: the lowest free eth<n>.")] = None,
    mac: Annotated[str | None, typer.Option(help="Its MAC address.")] = None,
    gw_priority: Annotated[int | None, typer.Option(help="The network with the highest has the default route.")] = None,
) -> None:
    """Plug a node of a running lab into a bridge; `up FILE` goes back to what the file says."""
    from labctl.cli import connect

    settings = {"ip": ip, "ip6": ip6, "aliases": aliases, "interface": interface, "mac": mac}
    connect.run(node, network, settings | {"gw_priority": gw_priority})


@app.command()
def disconnect(node: Node, network: Network) -> None:
    """Unplug a node of a running lab from a bridge; `up FILE` goes back to what the file says."""
    from labctl.cli import connect

    connect.off(node, network)


@app.command()
def doctor(as_json: Json = False) -> None:
    """Say whether labs can be built here, and what will interfere with them."""
    from labctl.cli import doctor

    doctor.run(as_json)
