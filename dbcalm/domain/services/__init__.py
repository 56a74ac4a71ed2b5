"""What the system does, one module a resource."""
