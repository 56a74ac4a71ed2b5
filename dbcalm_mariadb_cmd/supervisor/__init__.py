"""Jobs from their acceptance to their end: one at a time, each in a process of its own."""
