"""Pure functions: command lines, SQL, formats, and the meaning of what the tools print."""
