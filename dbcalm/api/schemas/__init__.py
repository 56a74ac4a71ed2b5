"""The bodies of requests, which are validated, and of answers, which are documented and built by ``views``."""

from dbcalm.api.schemas import auth, backups, cleanup, clients, common, jobs, restores, schedules, status

__all__ = ["auth", "backups", "cleanup", "clients", "common", "jobs", "restores", "schedules", "status"]
