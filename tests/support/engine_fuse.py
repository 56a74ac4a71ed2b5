"""A fuse in the calls by which files are changed: it blows before the n-th of them, as a power cut or a full disk."""

import errno
import os
from collections.abc import Callable
from typing import Any

import pytest

from dbcalm_mariadb_cmd.retention import trash

CALLS = ("fsync", "write", "unlink", "rmdir", "mkdir", "replace", "ftruncate")


class PowerCut(BaseException):
    """The process is gone: nothing that catches errors may catch this."""


class Fuse:
    """Counts changes of files while it is armed. ``blown`` tells that it has gone off since."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.blown = False
        self._left = 0
        self._error: Callable[[], BaseException] = PowerCut
        for name in CALLS:
            patch.setattr(os, name, self._counted(getattr(os, name)))
        patch.setattr(trash, "rename_new", self._counted(trash.rename_new))

    def arm(self, count: int, *, full_disk: bool = False) -> None:
        """Go off before the change of this number from now on; 0 never does."""
        self._left, self.blown = count, False
        self._error = (lambda: OSError(errno.ENOSPC, "No space left on device")) if full_disk else PowerCut

    def _counted(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            if self._left:
                self._left -= 1
                if not self._left:
                    self.blown = True
                    raise self._error()
            return call(*arguments, **more)

        return counted
