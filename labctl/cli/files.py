"""FILE of the command line, and the verbs that only look at files: `validate`, `schema`, `init`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

from labctl.errors import TopologyError, UsageError
from labctl.fields import replace
from labctl.written import Topology


def topology(file: str) -> Topology:
    """Reads and checks a topology: a path, `-`, or the bare name of a shipped one.

    Raises UsageError where there is no such file, TopologyError with its problems.
    """
    from labctl.document import read
    from labctl.shipped import locate
    from labctl.topology import load

    path = locate(file)
    return replace(load(read(path), path), file=path)


def validate(files: Sequence[str], as_json: bool) -> int:
    """Checks files and answers the exit status: 0 when all are good, else 2."""
    found = []
    bad = 0
    for file in files:
        try:
            checked = topology(file)
        except TopologyError as error:
            bad += 1
            found += [vars(problem) for problem in error.problems]
            if not as_json:
                print(error, file=sys.stderr)
        except UsageError as error:
            bad += 1
            found.append({"file": file, "line": 0, "column": 0, "message": str(error)})
            if not as_json:
                print(error, file=sys.stderr)
        else:
            if not as_json:
                print(f"{file}: good ({_count(checked.nodes, 'namespace')}, {_count(checked.bridges, 'bridge')})")
    if as_json:
        print(json.dumps(found, indent=2))
    return 2 if bad else 0


def _count(things: Sequence[object], noun: str) -> str:
    return f"{len(things)} {noun}{'' if len(things) == 1 else 's'}"


def schema() -> None:
    from labctl.document import read
    from labctl.shape import FILE

    print(read(FILE).decode(), end="")


def init(template: str, output: str) -> None:
    """Writes a copy of a shipped topology; never over a file that exists."""
    from labctl.document import read
    from labctl.shape import FILE
    from labctl.shipped import locate, names

    if template.removesuffix(".yaml") not in names():
        raise UsageError(f"no template '{template}'", f"There are: {', '.join(names())}.")
    text = read(locate(template)).decode().replace("$schema=../labctl/schema.json", f"$schema={FILE}", 1)
    if output == "-":
        print(text, end="")
        return
    try:
        with open(output, "x") as file:
            file.write(text)
    except FileExistsError:
        raise UsageError(f"{output} already exists", "Choose another name with --output.") from None
    except OSError as error:
        raise UsageError(f"{output}: {error.strerror}") from None
    print(f"{output} written; next: labctl up {output}", file=sys.stderr)
