"""What a job's process is told to do, and what it tells of itself."""
