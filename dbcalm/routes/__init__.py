"""What can be asked over HTTP: a router a resource, a function of a few lines a route."""

from dbcalm.routes import auth, backups, cleanup, clients, processes, replaced, restores, schedules, status

ALL = (
    auth.passwords,
    auth.router,
    backups.router,
    restores.router,
    replaced.router,
    processes.router,
    schedules.router,
    cleanup.router,
    clients.router,
    status.public,
    status.router,
)
