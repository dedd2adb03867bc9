"""The database behind the store: opened, migrated to the tables of this version, and tended while people write."""

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from pipeline.core import database
from pipeline.core.database import Clock

MIGRATIONS = Path(__file__).parent / "migrations"
TEND_S = 1.0


class Database(database.Database):
    """An open, migrated database. What a power failure takes from it, the page's journal sends again."""

    def __init__(self, where: str, clock: Clock = time.time) -> None:
        """Open it, creating it or bringing it up to this version.

        Args:
            where: a path (SQLite) or a URL.
            clock: seconds since 1970; what leases and sessions expire by.

        Raises:
            UserError: it cannot be opened.
        """
        super().__init__(where, migrate, clock)

    @contextlib.contextmanager
    def tended(self) -> Iterator[None]:
        """Move SQLite's log into its file every second, beside the writers, until the end of the block."""
        stop = threading.Event()

        def tend() -> None:
            while not stop.wait(TEND_S):
                self.checkpoint()

        thread = threading.Thread(target=tend, name="checkpoints")
        if self.sqlite:
            thread.start()
        try:
            yield
        finally:
            stop.set()
            if self.sqlite:
                thread.join()

    def checkpoint(self) -> None:
        """Move what SQLite's log holds into its file, as far as that makes nobody wait."""
        with contextlib.closing(self.engine.raw_connection()) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()


def migrate(connection: Connection) -> None:
    """Bring the tables up to this version, in the transaction at hand; the same tables stay as they are."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7318040)"))  # two servers started at once
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
