"""The command line: the only place that prints, chooses exit statuses and names options.

`main` is the door. The verbs that people type most and programs call in loops are recognised here in their plain
form, each with the module it needs and nothing else; every other word goes to Typer (app.py), which knows all verbs,
all options and all the help. Both call the same functions.
"""

from __future__ import annotations

import gc
import os
import sys

TYPE_CHECKING = False  # typing, signal and contextlib alone would take as long as all that `exec` does
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

SBIN = ("/usr/local/sbin", "/usr/sbin", "/sbin")  # nft and ip are there, and an ordinary user's PATH does not look


def main() -> NoReturn:
    """Runs the command line of this process and ends it with the command's status.

    A command lives for a tenth of a second: collecting garbage and taking the interpreter down in order would be a
    fifth of that, for nothing.
    """
    gc.set_threshold(100_000)
    os.environ["PATH"] = ":".join(dict.fromkeys([*os.environ.get("PATH", os.defpath).split(":"), *SBIN]))
    words = sys.argv[1:]
    if words[:1] != ["exec"]:
        _heed_signals()
    status = _status(words)
    _ignore_signals()
    if rootless := sys.modules.get("labctl.linux.rootless"):
        rootless.leave()
    try:  # noqa: SIM105 - contextlib takes a millisecond
        sys.stdout.flush()
    except BrokenPipeError:
        pass
    sys.stderr.flush()
    os._exit(status)


def _heed_signals() -> None:
    """SIGTERM ends a command as Ctrl-C does: what was begun is undone or left for the next `up`."""
    import signal

    def terminated(_signal: int, _frame: FrameType | None) -> NoReturn:
        if thread := sys.modules.get("labctl.linux.thread"):
            thread.stop.set()  # should Python lose the exception in a callback, the work still ends at its next step
        raise KeyboardInterrupt("terminated")

    signal.signal(signal.SIGTERM, terminated)


def _ignore_signals() -> None:
    """The command has ended, and only cleans up."""
    import signal

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)


def _status(words: list[str]) -> int:
    try:
        if not _plain(words):
            from labctl.cli.app import app

            app(words, prog_name="labctl")
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt as interrupt:
        return _failed("labctl: interrupted", interrupt, 130)
    except BrokenPipeError:
        return 1  # whoever read our output has gone; nothing left to say
    except OSError as error:
        where = f"{error.filename}: " if error.filename else ""
        return _failed(f"labctl: {where}{error.strerror or error}", error, 1)
    except Exception as error:
        from labctl.errors import LabError, TopologyError

        if not isinstance(error, LabError):
            raise
        told = str(error) if isinstance(error, TopologyError) else f"labctl: {error}"  # a problem opens with its place
        return _failed(told, error, error.exit_status)
    return 0


def _plain(words: list[str]) -> bool:
    """Carries out `exec NODE [--] COMMAND…`, `ps`, `down [LAB]`, `up FILE [--isolated]` and `validate FILE…`."""
    match words:
        case ["exec", node, *command] if command and not node.startswith("-") and not _options(command[:1]):
            from labctl.cli import exec_

            exec_.run(node, command[command[0] == "--" :])
        case ["ps"]:
            from labctl.cli import ps

            ps.run(as_json=False)
        case ["down", *lab] if len(lab) < 2 and not _options(lab):
            from labctl.cli import down

            down.run(lab[0] if lab else None)
        case ["up", file] | ["up", file, "--isolated"] | ["up", "--isolated", file] if not _options([file]):
            from labctl.cli import up

            up.run(file, isolated=len(words) > 2)
        case ["validate", *checked] if checked and not _options(checked):
            from labctl.cli import files

            sys.exit(files.validate(checked, as_json=False))
        case _:
            return False
    return True


def _options(words: list[str]) -> bool:
    return any(word.startswith("-") and word not in ("-", "--") for word in words)


def _failed(message: str, error: BaseException, status: int) -> int:
    notes = getattr(error, "__notes__", ())
    print("\n".join([message, *notes]), file=sys.stderr)
    return status
