"""One line that tells how far a long piece of work is, for a terminal of any width. ASCII: every terminal has it."""

from __future__ import annotations

LONGEST, SHORTEST = 30, 8  # characters of the bar itself; with no room for the latter there is none


def bar(what: str, share: float, nodes: int, seconds: float | None, width: int) -> str:
    """`lab: up [######--------] 412 of 1000 nodes, 2 s left` in at most `width` characters.

    A lab is built layer by layer, all its nodes side by side, so none is whole before the end: the count is the share
    of the work, from 0 to 1, in nodes. Narrow terminals have no bar, narrower ones no time; the count goes last.
    """
    share = min(max(share, 0.0), 1.0)
    count = f"{int(share * nodes)} of {nodes} nodes"
    left = f", {duration(seconds)} left" if seconds is not None else ""
    room = min(width - len(f"{what} [] {count}{left}"), LONGEST)
    if room >= SHORTEST:
        return f"{what} [{'#' * int(share * room):-<{room}}] {count}{left}"
    lines = (f"{what} {count}{left}", f"{what} {count}", count)
    return next((line for line in lines if len(line) <= width), count[: max(width, 0)])


def duration(seconds: float) -> str:
    """Whole seconds, at least one; minutes from two on."""
    return f"{max(round(seconds), 1)} s" if seconds < 120 else f"{round(seconds / 60)} min"


def left(done: float, total: float, spent: float, since: float) -> float | None:
    """Seconds until all is done, when `done` took `spent` seconds and nothing came in the `since` seconds after;
    None where too little is done to tell."""
    if done < total / 20 or spent <= 0:
        return None
    return max(spent / done * (total - done) - since, 0.0)
