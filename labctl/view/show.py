"""`labctl show` as text: the chosen screens of a picture, or an overview that fits a terminal."""

from __future__ import annotations

from collections.abc import Sequence

from labctl.picture import Picture
from labctl.view.page import DIM, RED, WIDTH, Page, wrapped
from labctl.view.sections import OVERVIEW, SECTIONS

SOME = 5  # names in one sentence


def show(picture: Picture, sections: Sequence[str] = (), *, colour: bool = False) -> str:
    """Without sections the overview, in which long lists are cut short."""
    page = Page(colour, whole=bool(sections))
    blocks = [_title(picture, page)]
    overview = [name for name in OVERVIEW if name != "ports" or picture.ports]
    blocks += [SECTIONS[name](picture, page) for name in sections or overview]
    if not sections:
        blocks.append(_more(picture, page))
    return "\n\n".join("\n".join(block) for block in blocks) + "\n"


def _title(picture: Picture, page: Page) -> list[str]:
    where = "in its own host namespace" if picture.isolated else "on this machine's host namespace"
    title = page.heading(f"{picture.lab} {where}")
    return [title, *(page.paint(line, RED) for line in wrapped(_gone(picture), WIDTH))]


def _gone(picture: Picture) -> str:
    if not picture.gone:
        return ""
    more = f" and {len(picture.gone) - SOME} more" if len(picture.gone) > SOME else ""
    return f"gone: {', '.join(picture.gone[:SOME])}{more}; 'labctl up {picture.file}' makes it again"


def _more(picture: Picture, page: Page) -> list[str]:
    rest = [name for name in SECTIONS if name not in OVERVIEW]
    return [page.paint(f"More: labctl show {picture.lab} [{'|'.join(rest)}]", DIM)]
