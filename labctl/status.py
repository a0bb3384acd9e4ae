"""What is known of a service besides its processes: what its supervisor wrote down last. Pure."""

from __future__ import annotations

from labctl.fields import dataclass


@dataclass(frozen=True)
class Report:
    """The last line of a service's status file: `name=value`, separated by spaces."""

    state: str = ""  # waiting, running, restarting, exited, or ending
    digest: str = ""  # of the service as it was started
    pid: str = ""  # of its first process, or of one that this one has left behind
    begun: str = ""  # that one's start, in clock ticks since boot (proc_pid_stat(5), field 22)
    mnt: str = ""  # the mount namespace that its processes have to themselves, `mnt:[4026532290]`
    net: str = ""  # the network namespace that it was started in, `net:[4026531840]`
    ready: str = ""  # yes, no, late (not in time); empty where the file does not ask
    code: str = ""  # how it ended the last time: an exit status, or a signal's name
    restarts: str = "0"
    watched: bool = False  # its supervisor lives

    @property
    def pending(self) -> bool:
        """Something about it is still to be decided by its supervisor."""
        return self.watched and (self.state == "waiting" or self.ready == "no")


def parse(text: str, watched: bool) -> Report:
    """Of the file's text the last whole line; what it does not tell is left empty."""
    last = text.rpartition("\n")[0].rpartition("\n")[2]
    words = dict(word.partition("=")[::2] for word in last.split(" "))
    fields = {name: words[name] for name in vars(Report()) if name in words and name != "watched"}
    return Report(**fields, watched=watched)
