"""A database behind a path or URL: SQLite by default, PostgreSQL by URL; opened, built, read and written.

SQLite runs in WAL mode with `synchronous=NORMAL`: a killed process loses nothing that was committed, a power failure
may lose the last commits. Writers of this process take turns at a lock instead of polling the file; writers of other
processes wait for `busy_timeout`.
"""

import contextlib
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import URL, Connection, Engine, make_url

from pipeline.core.errors import UserError, problem

Clock = Callable[[], float]
BUSY_MS = 30_000
LOG_PAGES = 16_384
"""Of SQLite's log, 4 KiB each, before a writer moves them into the file and everybody behind it waits for the disk."""


def url_of(where: str, option: str = "--database") -> URL:
    """Return the database behind a path (SQLite) or a URL.

    Args:
        where: a path or a URL.
        option: what gave it, for the message.

    Raises:
        UserError: neither SQLite nor PostgreSQL.
    """
    if "://" not in where:
        return URL.create("sqlite", database=str(Path(where).absolute()))
    try:
        url = make_url(where)
    except sa.exc.ArgumentError:
        url = URL.create("unreadable")
    if url.get_backend_name() == "postgresql":
        return url.set(drivername="postgresql+psycopg")
    if url.get_backend_name() == "sqlite" and url.database:
        return url
    allowed = "a path, sqlite:///path, or postgresql://user@host/name"
    got = url.render_as_string(hide_password=True)
    raise UserError(problem("The database cannot be used", got=got, allowed=allowed, fix=f"correct {option}"))


class UnreachedError(UserError):
    """The database does not answer: gone, restarting, locked or full. What was under way in it is not done."""


class Database:
    """An open database with its tables."""

    def __init__(
        self,
        where: str,
        build: Callable[[Connection], None],
        clock: Clock = time.time,
        option: str = "--database",
    ) -> None:
        """Open it, creating it or bringing it up to this version.

        Args:
            where: a path (SQLite) or a URL.
            build: makes or migrates the tables, in one transaction; finds them there on every later opening.
            clock: seconds since 1970; what leases and sessions expire by.
            option: what gave `where`, for messages.

        Raises:
            UserError: it cannot be opened.
        """
        self.clock = clock
        self.url = url_of(where, option)
        self.sqlite = self.url.get_backend_name() == "sqlite"
        if self.sqlite:
            Path(str(self.url.database)).parent.mkdir(parents=True, exist_ok=True)
        self.engine = _engine(self.url)
        self._turn = threading.Lock()
        try:
            with self.write() as connection:
                build(connection)
        except (UnreachedError, sa.exc.OperationalError, ModuleNotFoundError) as error:
            reason = _reason(error.__cause__ if isinstance(error, UnreachedError) else error)
            got, fix = self.url.render_as_string(hide_password=True), f"check {option} and that the server runs"
            allowed = "a database that can be reached and written"
            raise UserError(
                problem(f"The database cannot be opened ({reason})", got=got, allowed=allowed, fix=fix)
            ) from error

    @contextlib.contextmanager
    def read(self) -> Iterator[Connection]:
        """Yield a connection that sees one state of the database.

        Raises:
            UnreachedError: it does not answer.
        """
        with self._reached(), self.engine.connect() as connection, connection.begin():
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[Connection]:
        """Yield a connection whose changes become permanent together at the end, or not at all.

        Raises:
            UnreachedError: it does not answer. Lost while it made them permanent, they are there or they are not.
        """
        with self._turn if self.sqlite else contextlib.nullcontext(), self._reached():
            options = {"immediate": True} if self.sqlite else {}
            with self.engine.connect().execution_options(**options) as connection, connection.begin():
                yield connection

    @contextlib.contextmanager
    def _reached(self) -> Iterator[None]:
        """Say in one sentence that the database is gone; what it answers, refusals among it, passes as it is."""
        try:
            yield
        except (sa.exc.DBAPIError, sa.exc.TimeoutError) as error:
            if not _is_lost(error):
                raise
            got = self.url.render_as_string(hide_password=True)
            fix = "see that it runs and that its disk has room, then give the same command again"
            what, allowed = (
                f"The database does not answer ({_reason(error)})",
                "a database that can be reached and written",
            )
            raise UnreachedError(problem(what, got=got, allowed=allowed, fix=fix)) from error

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()


def _is_lost(error: sa.exc.DBAPIError | sa.exc.TimeoutError) -> bool:
    """Whether the database is at fault, not the statement; SQLite reports both as operational errors."""
    if isinstance(error, sa.exc.TimeoutError) or error.connection_invalidated:
        return True
    at_fault = isinstance(error, (sa.exc.OperationalError, sa.exc.InterfaceError))
    return at_fault and getattr(error.orig, "sqlite_errorcode", None) != sqlite3.SQLITE_ERROR


def _reason(error: BaseException | None) -> str:
    return str(getattr(error, "orig", error)).strip().splitlines()[0]


def _engine(url: URL) -> Engine:
    """Return an engine whose transactions on SQLite begin as reads or writes, and never change."""
    engine = sa.create_engine(url, pool_size=8, max_overflow=56, pool_timeout=30, pool_pre_ping=not _is_sqlite(url))
    if _is_sqlite(url):

        @sa.event.listens_for(engine, "connect")
        def prepare(connection: Any, _: Any) -> None:
            connection.isolation_level = None  # the driver's own BEGIN would come too late and be a reader's
            connection.execute(f"PRAGMA busy_timeout={BUSY_MS}")
            _log_ahead(connection)
            for pragma in ("synchronous=NORMAL", f"wal_autocheckpoint={LOG_PAGES}", "foreign_keys=ON"):
                connection.execute(f"PRAGMA {pragma}")

        @sa.event.listens_for(engine, "begin")
        def begin(connection: Connection) -> None:
            writes = connection.get_execution_options().get("immediate")
            connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")

    return engine


def _log_ahead(connection: Any) -> None:
    """Turn the write-ahead log on; of several that open a new file at once, SQLite lets none wait for another here."""
    end_s = time.monotonic() + BUSY_MS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            return
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > end_s:
                raise
            time.sleep(0.01)


def _is_sqlite(url: URL) -> bool:
    return url.get_backend_name() == "sqlite"


def keep_as_written(connection: Connection, tables: Sequence[str]) -> None:
    """Let the database refuse every change of rows that are written once; tables that refuse already stay so.

    Args:
        connection: in a transaction that may change the tables.
        tables: names.
    """
    postgresql = connection.dialect.name == "postgresql"
    if postgresql:
        function = "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql AS "
        body = "$$ BEGIN RAISE EXCEPTION '% is append-only', TG_TABLE_NAME; END $$"
        connection.execute(sa.text(function + body))
    for table in tables:
        if postgresql:
            trigger = f"CREATE OR REPLACE TRIGGER {table}_append_only BEFORE UPDATE OR DELETE OR TRUNCATE ON {table} "
            connection.execute(sa.text(trigger + "FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()"))
            continue
        for verb in ("UPDATE", "DELETE"):
            trigger = f"CREATE TRIGGER IF NOT EXISTS {table}_no_{verb.lower()} BEFORE {verb} ON {table} "
            connection.execute(sa.text(trigger + f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"))
