"""The service that runs as mysql: backup and restore jobs and their journal."""
