"""The events of a YAML text, by PyYAML's binding to libyaml and without the rest of PyYAML.

All of it takes 8 ms to import, most of that for a reader, resolvers and constructors in Python, which nobody uses here.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType, SimpleNamespace

__all__ = ["events", "yaml"]

ERRORS = {  # that the binding looks up in modules of PyYAML when it is imported; and what it raises instead of them
    "MarkedYAMLError": ("scanner.ScannerError", "parser.ParserError", "composer.ComposerError"),
    "YAMLError": (
        "reader.ReaderError",
        "constructor.ConstructorError",
        "emitter.EmitterError",
        "serializer.SerializerError",
        "representer.RepresenterError",
    ),
}


def _small() -> ModuleType:
    """PyYAML as far as it is used here. All of it in a process that is not labctl's own, where somebody else may want
    it; and where it is imported anyway, was built without libyaml, or is made otherwise than ERRORS knows."""
    spec = find_spec("yaml") if "labctl.cli" in sys.modules else None
    if not spec or "yaml" in sys.modules:
        return import_module("yaml")
    package = ModuleType("yaml")
    package.__path__ = list(spec.submodule_search_locations or ())
    sys.modules["yaml"] = package
    try:
        return _filled(package)
    except (ImportError, AttributeError):
        pass
    finally:
        del sys.modules["yaml"]
    return import_module("yaml")


def _filled(package: ModuleType) -> ModuleType:
    for name in ("error", "tokens", "events", "nodes"):
        module = import_module(f"yaml.{name}")
        setattr(package, name, module)
        vars(package).update({each: value for each, value in vars(module).items() if isinstance(value, type)})
    for error, names in ERRORS.items():
        for module_name, _, name in (each.partition(".") for each in names):
            setattr(package, module_name, SimpleNamespace(**{name: getattr(package, error)}))
    vars(package)["CLoader"] = import_module("yaml._yaml").CParser
    return package


TYPE_CHECKING = False
if TYPE_CHECKING:
    import yaml
else:
    yaml = _small()


def events(text: str) -> Iterator[yaml.Event]:
    """Raises yaml.MarkedYAMLError where the text is not YAML."""
    loader = getattr(yaml, "CLoader", None) or yaml.Loader
    parser = loader(text)
    while parser.check_event():
        yield parser.get_event()
