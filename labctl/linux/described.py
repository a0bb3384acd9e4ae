"""Whole messages as pyroute2's classes decode them, for those who show or try everything, and are in no hurry."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import types
from collections.abc import Sequence
from typing import Any

from labctl.linux.netlink import NLM_F_DUMP, NLM_F_REQUEST, Socket


def _messages() -> types.SimpleNamespace:
    """pyroute2's message classes, without running `pyroute2/__init__`, which imports asyncio and all the rest.

    40 ms instead of 200. Should the package ever be laid out differently, the plain import does the same.
    """
    names = {"ifinfmsg": "ifinfmsg", "ifaddrmsg": "ifaddrmsg", "rtmsg": "rtmsg", "ndmsg": "ndmsg"}
    found = "pyroute2" not in sys.modules and importlib.util.find_spec("pyroute2")
    if found and found.submodule_search_locations:
        stub = types.ModuleType("pyroute2")
        stub.__path__ = list(found.submodule_search_locations)
        sys.modules["pyroute2"] = stub
        try:
            return _load(names)
        except ImportError:
            pass
        finally:
            del sys.modules["pyroute2"]  # whoever wants the whole package can still import it
    return _load(names)


def _load(names: dict[str, str]) -> types.SimpleNamespace:
    modules = {name: importlib.import_module(f"pyroute2.netlink.rtnl.{name}") for name in names}
    return types.SimpleNamespace(**{name: getattr(modules[name], name) for name in names})


classes = _messages()


def encode(kind: str, type_: int, flags: int, fields: dict[str, Any], attributes: Sequence[tuple[str, Any]]) -> bytes:
    """One message of a pyroute2 class, ready to be sent; its sequence number is set when it is."""
    message = getattr(classes, kind)()
    for name, value in fields.items():
        message[name] = value
    message["attrs"] = list(attributes)
    message["header"]["type"] = type_
    message["header"]["flags"] = NLM_F_REQUEST | flags
    message.encode()
    return bytes(message.data)


def dump(socket: Socket, kind: str, type_: int, **fields: Any) -> list[Any]:
    """All objects of one kind."""
    return [decode(kind, data) for data in socket.dump(encode(kind, type_, NLM_F_DUMP, fields, ()))]


def decode(kind: str, data: bytes) -> Any:
    message = getattr(classes, kind)(data)
    message.decode()
    return message
