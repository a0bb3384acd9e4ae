"""SHA-256 by the interpreter's own code: hashlib brings OpenSSL along, and takes 2 ms for digests of a line."""

from __future__ import annotations

from importlib import import_module

__all__ = ["sha256"]

TYPE_CHECKING = False
if TYPE_CHECKING:
    from hashlib import sha256
else:
    for _module in ("_sha2", "_sha256", "hashlib"):  # since Python 3.12, before, and where it has none of its own
        try:
            sha256 = import_module(_module).sha256
            break
        except ImportError:
            pass
