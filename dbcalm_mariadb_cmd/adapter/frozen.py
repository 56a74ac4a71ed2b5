"""The program as `make binaries` builds it, whose files an upgrade may replace while it runs."""

import contextlib
import importlib
import pkgutil
import sys
from importlib.machinery import ExtensionFileLoader
from importlib.util import find_spec


def load_all() -> None:
    """Load every module that the program has; from then on it needs none of its files. Not frozen, do nothing.

    Modules are read from archives when they are first imported, and a new version's archive has other bytes at that
    place. Compiled modules are loaded by those that need them; the rest of them belong to the other programs.
    """
    if not getattr(sys, "frozen", False):
        return
    for module in pkgutil.walk_packages(onerror=lambda _name: None):
        with contextlib.suppress(ImportError):  # What only other systems have, and what other programs have.
            spec = find_spec(module.name)
            if spec is not None and not isinstance(spec.loader, ExtensionFileLoader):
                importlib.import_module(module.name)
