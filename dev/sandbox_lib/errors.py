"""The one exception of this package."""


class SandboxError(Exception):
    """Something that cannot be done; the message is one line for a person."""
