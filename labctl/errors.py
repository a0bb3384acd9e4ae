"""Everything that can go wrong and be explained to a user.

LabError                 exit status 1
├── UsageError           exit status 2: the command line, or the wrong user
├── TopologyError        exit status 2: the file; carries every Problem found in it
├── Conflict             something that labctl does not own is in the way
├── KernelError          the machine refused one operation
├── ServiceError         a service did not become ready
└── Incomplete           `down` could not remove everything; carries what is left
"""

from __future__ import annotations

import errno as errnos
from collections.abc import Iterable, Sequence

from labctl.fields import dataclass, replace

MAX_PROBLEMS = 100  # with more, the file is not what its author thinks it is


@dataclass(frozen=True, order=True)
class Problem:
    """One thing wrong at one place of a file; lines and columns count from 1."""

    file: str
    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.message}"


class LabError(Exception):
    """A failure with a message for the user and, often, a hint on what to do."""

    exit_status = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}\n{self.hint}" if self.hint else self.message


class UsageError(LabError):
    """The command cannot be carried out as given."""

    exit_status = 2


class TopologyError(LabError):
    """A topology file that cannot be used: its problems in the file's order, and a word if there are too many."""

    exit_status = 2

    def __init__(self, problems: Iterable[Problem]) -> None:
        first = sorted(set(problems))[: MAX_PROBLEMS + 1]
        if len(first) > MAX_PROBLEMS:
            message = f"more than {MAX_PROBLEMS} problems; mend those above, then look for the rest"
            first[-1] = replace(first[-1], message=message)
        self.problems = tuple(first)
        super().__init__("\n".join(map(str, self.problems)))


class Conflict(LabError):
    """Something foreign already has a name or number that the lab needs. It was not touched."""


class KernelError(LabError):
    """One refused operation: its shell form (of a whole file the first line), the errno and the likely cause."""

    def __init__(self, operation: str, errno: int, reason: str = "", hint: str = "") -> None:
        name = errnos.errorcode.get(errno, str(errno))
        first, _, more = operation.partition("\n")
        first = first.removesuffix(" \\")
        super().__init__(f"{first}{' …' if more else ''}\n  {reason or 'refused'} ({name})", hint)
        self.operation = operation
        self.errno = errno


class ServiceError(LabError):
    """A service that had to be ready is not: why, and the end of its log."""


class Incomplete(LabError):
    """Removal went on to the end, but some of what the lab owns is still there."""

    def __init__(self, lab: str, failures: Sequence[str]) -> None:
        self.failures = tuple(failures)
        lines = "".join(f"\n  {failure}" for failure in failures)
        super().__init__(f"{lab}: not everything could be removed:{lines}", f"Run 'labctl down {lab}' again.")
