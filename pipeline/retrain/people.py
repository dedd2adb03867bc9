"""A ledger's database and what people say in it; every line has a name and a reason and stays as it was given."""

import contextlib
import threading
import time
from collections.abc import Iterator
from typing import Any

from sqlalchemy.engine import Connection

from pipeline.core.database import Clock, Database
from pipeline.retrain import decisions
from pipeline.retrain.decisions import Event, Hold
from pipeline.retrain.tables import build, take_turn


class People:
    """Holds, batches left out, and the record of everything; the base of `Ledger`."""

    def __init__(self, where: str, clock: Clock = time.time) -> None:
        """Open it, creating what is absent.

        Args:
            where: a path (SQLite) or a PostgreSQL URL.
            clock: seconds since 1970; what leases expire by.

        Raises:
            UserError: it cannot be opened.
        """
        self._database = Database(where, build, clock, option="--ledger")
        self._moving = threading.local()

    def close(self) -> None:
        """Close every connection."""
        self._database.close()

    def events(self) -> list[Event]:
        """Return everything that was done, in order."""
        with self._database.read() as connection:
            return decisions.read(connection)

    def hold(self, who: str, reason: str) -> None:
        """Stop retraining before its next step, until `release_hold`."""
        self._say(who, "hold", "", reason)

    def release_hold(self, who: str, reason: str) -> None:
        """Let retraining go on."""
        self._say(who, "release_hold", "", reason)

    def held(self) -> Hold | None:
        """Return the hold that is in force."""
        with self._database.read() as connection:
            return decisions.held(connection)

    def leave_out(self, model: str, batch: str, who: str, reason: str) -> None:
        """Let no coming plan of a model train on a batch."""
        self._say(who, "leave_out", decisions.batch_subject(model, batch), reason)

    def take_back(self, model: str, batch: str, who: str, reason: str) -> None:
        """Let coming plans train on a batch that was left out."""
        self._say(who, "take_back", decisions.batch_subject(model, batch), reason)

    def left_out(self, model: str) -> dict[str, Event]:
        """Return the batches that people keep out of coming plans, and who said why."""
        with self._database.read() as connection:
            return decisions.left_out(connection, model)

    @contextlib.contextmanager
    def alone(self) -> Iterator[Connection]:
        """Hold a transaction of the ledger, so that nobody else writes it."""
        with self._write() as connection:
            self._moving.now = True
            try:
                yield connection
            finally:
                self._moving.now = False

    @contextlib.contextmanager
    def _write(self) -> Iterator[Connection]:
        if getattr(self._moving, "now", False):
            raise RuntimeError("the ledger is written by the thread that keeps it to itself: it would wait for ever")
        with self._database.write() as connection:
            take_turn(connection)
            yield connection

    def _event(self, connection: Connection, actor: str, action: str, subject: str, detail: dict[str, Any]) -> None:
        decisions.append(connection, self._database.clock(), actor, action, subject, detail)

    def _say(self, who: str, action: str, subject: str, reason: str) -> None:
        with self._write() as connection:
            decisions.say(connection, self._database.clock(), who, action, subject, reason)
