"""The service that runs as root, and the protocol that all of DBCalm's services share."""

__version__ = "0.1.0"
