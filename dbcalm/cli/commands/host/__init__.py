"""Commands about this host and its services."""
