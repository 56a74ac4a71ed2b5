"""What can be asked over HTTP: one module a resource, a handler a few lines."""

from dbcalm.routes import auth, backups, clients, health, processes, restores

ALL = (auth.routes, backups.routes, restores.routes, processes.routes, clients.routes, health.routes)
