"""What can be asked over HTTP: one module a resource, a handler a few lines."""

from dbcalm.routes import auth, backups, cleanup, clients, processes, replaced, restores, schedules, status

ALL = (
    auth.routes,
    backups.routes,
    restores.routes,
    replaced.routes,
    processes.routes,
    schedules.routes,
    cleanup.routes,
    clients.routes,
    status.routes,
)
