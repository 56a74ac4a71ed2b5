"""Making backups: taken, rolled up, adopted."""
