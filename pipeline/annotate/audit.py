"""The append-only record of what was done: every line carries the hash of the line before it.

Removing, changing or inserting a line breaks the chain from there on; cutting the end off shows against any manifest or
page that was read before. Triggers refuse UPDATE and DELETE besides.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from pipeline.annotate.schema_admin import AuditRow
from pipeline.annotate.tables import audit
from pipeline.core import storage

START = "0" * 64
"""What the first line names as the hash before it."""


def append(
    connection: Connection, at: float, actor: str, action: str, subject: str, detail: dict[str, Any] | None = None
) -> None:
    """Add a line, in the transaction at hand. Call it last: on PostgreSQL it makes the writers wait for each other."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.text("SELECT pg_advisory_xact_lock(7318041)"))
    last = connection.execute(
        sa.select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)
    ).first()
    row: dict[str, Any] = {
        "sequence": last.sequence + 1 if last else 1,
        "at": at,
        "actor": actor,
        "action": action,
        "subject": subject,
        "detail": detail or {},
        "previous": last.hash if last else START,
    }
    connection.execute(audit.insert().values(**row, hash=storage.sha256_json(row)))


def read(connection: Connection, after: int = 0, limit: int = 500) -> list[AuditRow]:
    """Return lines in order, from the one after `after` on."""
    rows = connection.execute(
        sa.select(audit).where(audit.c.sequence > after).order_by(audit.c.sequence).limit(limit)
    ).mappings()
    return [AuditRow(**row) for row in rows]


def intact(rows: Sequence[AuditRow], before: AuditRow | None = None) -> bool:
    """Say whether the lines are consecutive, and each fits its hash and the line before it.

    Args:
        rows: as `read` returned them.
        before: the line before the first one; None when that is the first of all.
    """
    sequence, previous = (before.sequence, before.hash) if before else (0, START)
    for row in rows:
        said = row.model_dump(exclude={"hash"})
        if (row.sequence, row.previous, row.hash) != (sequence + 1, previous, storage.sha256_json(said)):
            return False
        sequence, previous = row.sequence, row.hash
    return True


def head(connection: Connection) -> dict[str, Any]:
    """Return the number and hash of the newest line, as a manifest records them."""
    last = connection.execute(
        sa.select(audit.c.sequence, audit.c.hash).order_by(audit.c.sequence.desc()).limit(1)
    ).first()
    return {"sequence": last.sequence, "hash": last.hash} if last else {"sequence": 0, "hash": START}
