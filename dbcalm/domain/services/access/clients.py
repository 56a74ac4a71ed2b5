"""Programs that may use the API."""

import uuid
from collections.abc import Sequence
from dataclasses import replace

from dbcalm.domain.model import names, scopes
from dbcalm.domain.model.entities import Caller, Client
from dbcalm.domain.model.listing import TEXT, Listing, Page, Query
from dbcalm.domain.ports import ClientStore
from dbcalm.domain.rules.passwords import hash_secret, new_secret
from dbcalm.errors import NotAllowed, NotFound
from dbcalm.logger import audited
from dbcalm_cmd.process import utc_now

LISTING = Listing(query={"id": TEXT, "label": TEXT, "scopes": TEXT}, order=("id", "label"))


class Clients:
    """Adds, lists, changes and deletes clients; tokens of a deleted one end at once."""

    def __init__(self, store: ClientStore) -> None:
        self._store = store

    def list(self, query: Query) -> Page[Client]:
        """Return one page of clients."""
        return self._store.list(query)

    def require(self, id: str) -> Client:
        """Return a client; raise NotFound."""
        client = self._store.get(id)
        if client is None:
            raise NotFound(f"there is no client {names.shown(id)}")
        return client

    def add(self, caller: Caller, label: str, wanted: Sequence[str] | None) -> tuple[Client, str]:
        """Return a new client and its secret, which is not kept and cannot be told again. Without scopes it gets those
        of the caller; raise NotAllowed if it would get more than they have, InvalidField if label or scopes are none.
        """
        with audited(caller.name, f"add client {names.shown(label)}"):
            granted = scopes.checked(caller.scopes if wanted is None else wanted)
            if beyond := [scope for scope in granted if not scopes.allows(caller.scopes, scope)]:
                raise NotAllowed(f"a client cannot get a scope that its creator lacks: {', '.join(beyond)}")
            client = Client(str(uuid.uuid4()), names.text("label", label), granted)
            secret = new_secret()
            self._store.add(client, hash_secret(secret), utc_now())
        return client, secret

    def rename(self, caller: Caller, id: str, label: str) -> Client:
        """Give a client another label; raise NotFound or InvalidField."""
        with audited(caller.name, f"rename client {names.shown(id)}"):
            renamed = replace(self.require(id), label=names.text("label", label))
            if not self._store.rename(id, renamed.label):
                raise NotFound(f"there is no client {names.shown(id)}")
        return renamed

    def delete(self, caller: Caller, id: str) -> None:
        """Delete a client, and end all its tokens; raise NotFound."""
        with audited(caller.name, f"delete client {names.shown(id)}"):
            if not self._store.delete(id):
                raise NotFound(f"there is no client {names.shown(id)}")
