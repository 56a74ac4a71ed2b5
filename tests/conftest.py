"""Where tests put their files: on a disk. In a container /tmp is a small one in memory that can do other things."""

import os

_FOLDER = os.environ.setdefault("TMPDIR", "/var/tmp")
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _FOLDER)
