"""One repository a resource."""
