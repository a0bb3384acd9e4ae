"""Logs read from their beginning or their end, over holes and truncation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from labctl.linux.logs import CHUNK, Log, follow, last_lines


def everything(logs: dict[str, Path], last: int | None = None, there: Callable[[], bool] = lambda: False) -> str:
    found: list[bytes] = []
    follow({name: str(path) for name, path in logs.items()}, last, there, found.append)
    return b"".join(found).decode()


@pytest.mark.parametrize("last", [None, 0, 1, 2, 3, 9])
@pytest.mark.parametrize("text", ["", "one\n", "one\ntwo\nthree\n", "one\ntwo\nno end", "\n\n", f"{'x' * CHUNK}\ny\n"])
def test_the_last_lines(tmp_path: Path, text: str, last: int | None) -> None:
    log = tmp_path / "log"
    log.write_text(text)
    lines = text.splitlines(keepends=True)
    assert everything({"main": log}, last) == "".join(
        lines if last is None else lines[len(lines) - min(last, len(lines)) :]
    )


def test_many_lines(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("".join(f"line {number}\n" for number in range(100_000)))
    assert everything({"main": log}, 50_000).splitlines() == [f"line {number}" for number in range(50_000, 100_000)]


def test_a_hole_is_skipped_to_the_next_line(tmp_path: Path) -> None:
    log = tmp_path / "log"
    with log.open("wb") as file:
        file.seek(1 << 24)
        file.write(b"the end of a line\none\ntwo\n")
    assert everything({"main": log}) == "one\ntwo\n"
    assert everything({"main": log}, 9) == "one\ntwo\n"
    assert last_lines(str(log), 1) == ["two"]


def test_a_log_that_begins_anew_is_read_anew(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Log(str(path))
    assert log.read() == b""
    path.write_text("first line\n")
    assert log.read() == b"first line\n"
    path.write_text("second\n")
    assert log.read() == b"second\n"
    path.unlink()
    assert log.read() == b""
    path.write_text("third, and longer\n")
    assert log.read() == b"third, and longer\n"


def test_lines_of_several_logs_have_names(tmp_path: Path) -> None:
    logs = {"a": tmp_path / "a", "long": tmp_path / "long", "none": tmp_path / "none"}
    logs["a"].write_text("one\ntwo")
    logs["long"].write_text("three\n")
    assert everything(logs) == "a    | one\nlong | three\na    | two\n"


def test_what_comes_is_followed_until_the_log_has_gone(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text("one\n")
    steps = iter(["two\n", "three\n"])

    def there() -> bool:
        if text := next(steps, ""):
            with log.open("a") as file:
                file.write(text)
        return bool(text)

    assert everything({"main": log}, 0, there) == "two\nthree\n"


def test_control_characters_are_no_part_of_a_message(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_bytes(b"\x1b[31mred\x07\n\xff\tend\n")
    assert last_lines(str(log), 5) == ["[31mred", "\ufffd       end"]
