"""The command line: what an administrator does on the host itself, through the same services as the API."""
