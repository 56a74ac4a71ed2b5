"""Private installations of DBCalm for the demo, the tests and the benchmarks: ``Sandbox.up(folder)``."""

from dev.sandbox_lib.errors import SandboxError
from dev.sandbox_lib.sandbox import PROGRAMS, Facts, Sandbox

__all__ = ["PROGRAMS", "Facts", "Sandbox", "SandboxError"]
