"""The catalogue's file, opened: SQLAlchemy's engine over SQLite, with what keeps it safe.

WAL, so that readers never wait for a writer; ``synchronous=FULL``, so that what was committed survives a power cut;
every write begins as one, so that two writers queue instead of failing half-way.
"""

import contextlib
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, ExceptionContext, NullPool, Pool, QueuePool, create_engine, event
from sqlmodel import Session

from dbcalm.errors import CatalogueDamaged, NoSpace, Unavailable
from dbcalm.repository.prepared import Prepared
from dbcalm.repository.recovery.sealed import Vault, change_number

_BUSY_SECONDS = 5.0
_KEPT_OPEN = 8
"""Connections that stay open when nobody needs them; there may be as many as there are threads."""

_DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_BUSY = (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)
NO_TEXT = "a text in it is none"


class Database:
    """An open catalogue. ``read`` and ``write`` give a connection inside a transaction."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._vault = Vault(path)
        self._engine = _engine(
            lambda: connect(path), QueuePool, pool_size=_KEPT_OPEN, max_overflow=-1, pool_use_lifo=True
        )
        event.listen(self._engine, "begin", _begin)
        self._writing = self._engine.execution_options(begin="BEGIN IMMEDIATE")

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Give a connection that sees one state of the catalogue throughout; raise Unavailable if it is locked."""
        with _explained(), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Give a connection whose writes are kept together when the block ends well, and not at all otherwise; raise
        Unavailable if somebody else writes for seconds, and NoSpace. What changes users, clients or schedules is sealed
        first."""
        with _explained(), self._writing.connect() as connection:
            try:
                before = change_number(connection)
                yield connection
                unchanged = change_number(connection) == before
                with contextlib.nullcontext() if unchanged else self._vault.sealing(connection):
                    connection.commit()
            except BaseException:
                # SQLAlchemy takes a COMMIT that failed for an end; SQLite does not, and locks everybody else out.
                driver_of(connection).rollback()
                raise

    @contextlib.contextmanager
    def session(self) -> Iterator[Session]:
        """Give a session inside one ``write``."""
        with self.write() as connection, Session(connection) as session:
            yield session
            session.flush()

    @contextlib.contextmanager
    def snapshot(self) -> Iterator[sqlite3.Connection]:
        """Give SQLite's own connection, which sees one state of the catalogue throughout, for prepared statements."""
        with self._driver() as connection:
            connection.execute("BEGIN")  # The pool ends it: what is given back to it is rolled back.
            yield connection

    def first(self, statement: Prepared, **values: Any) -> Sequence[Any] | None:
        """Return the first row that a statement gives."""
        with self._driver() as connection:
            return statement.first(connection, **values)

    def all(self, statement: Prepared, **values: Any) -> Sequence[Sequence[Any]]:
        """Return all rows that a statement gives."""
        with self._driver() as connection:
            return statement.all(connection, **values)

    @contextlib.contextmanager
    def _driver(self) -> Iterator[sqlite3.Connection]:
        with _explained(), contextlib.closing(self._engine.raw_connection()) as pooled:
            connection = pooled.driver_connection
            assert isinstance(connection, sqlite3.Connection)
            yield connection

    def is_sealed(self) -> bool:
        """Tell whether the sealed copy is whole and that of the last change."""
        with self.read() as connection:
            if self._vault.is_up_to(change_number(connection)):
                return True
        with self.write() as connection:  # Somebody may have changed it between the two looks.
            return self._vault.is_up_to(change_number(connection))

    def close(self) -> None:
        """Close all connections that nobody uses."""
        self._engine.dispose()


def _engine(creator: Callable[[], sqlite3.Connection], pool: type[Pool], **options: Any) -> Engine:
    engine = create_engine("sqlite://", creator=creator, poolclass=pool, **options)
    event.listen(engine, "handle_error", _bare, retval=True)
    return engine


def _bare(context: ExceptionContext) -> BaseException:
    """Let what SQLite raises come as it is."""
    return context.original_exception


def _begin(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Turn what SQLite raises when the host is at fault into a sentence of ours."""
    try:
        yield
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", 0) & 0xFF
        if code in _BUSY:
            raise Unavailable("the catalogue is busy; try again in a few seconds") from error
        if code == sqlite3.SQLITE_FULL:
            raise NoSpace("the disk that holds the catalogue is full") from error
        if is_damage(error):
            raise CatalogueDamaged(f"the catalogue is damaged: {error}; restart dbcalm-api") from error
        raise
    except UnicodeDecodeError as error:
        raise CatalogueDamaged(f"the catalogue is damaged: {NO_TEXT}; restart dbcalm-api") from error


def is_damage(error: sqlite3.DatabaseError) -> bool:
    """Tell whether the file is at fault. A check of ours, and a text that is none, have no code of SQLite's."""
    if type(error) not in (sqlite3.DatabaseError, sqlite3.OperationalError):
        return False
    return getattr(error, "sqlite_errorcode", sqlite3.SQLITE_CORRUPT) & 0xFF in _DAMAGE


def connect(path: Path) -> sqlite3.Connection:
    """Return a connection with the settings that all of them have."""
    connection = sqlite3.connect(path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
    for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")
    return connection


@contextlib.contextmanager
def opened(creator: Callable[[], sqlite3.Connection]) -> Iterator[Connection]:
    """Give a block a connection of its own, with no transaction around it."""
    with _engine(creator, NullPool).connect() as connection:
        yield connection


def driver_of(connection: Connection) -> sqlite3.Connection:
    """Return SQLite's own connection, for what SQLAlchemy has no words for."""
    found = connection.connection.driver_connection
    assert isinstance(found, sqlite3.Connection)
    return found
