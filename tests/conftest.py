"""Where tests put their files, and how long tests of chance may take."""

import os

from hypothesis import HealthCheck, settings

# On a disk: in a container /tmp is a small one in memory, which can do other things.
_FOLDER = os.environ.setdefault("TMPDIR", "/var/tmp")
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", _FOLDER)

settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("patient")
