"""DBCalm's API server and command line: decides and remembers, as user ``dbcalm``, and never touches database files."""

__version__ = "0.1.0"
