"""What may be deleted, and how it goes."""
