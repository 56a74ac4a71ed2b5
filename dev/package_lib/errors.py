"""What keeps a package from being made."""


class PackageError(Exception):
    """A package that cannot be made; the message is one sentence that says why."""
