"""What the ledger of retraining keeps, as SQLAlchemy Core tables; they may share a database with the annotation store.

Times are seconds since 1970. What people do (hold, override, roll back, leave a batch out) is an event and nothing
else, so that its name and reason stay as they were given.
"""

import sqlalchemy as sa
from sqlalchemy import JSON, Boolean, Column, Double, ForeignKey, Index, Integer, MetaData, String, Table, Text
from sqlalchemy.engine import Connection

from pipeline.core.database import keep_as_written

metadata = MetaData()
KEY = String(64)
NAME = String(200)
VALUE = JSON(none_as_null=True)

plans = Table(
    "retrain_plans",
    metadata,
    Column("plan_key", KEY, primary_key=True),
    Column("model", NAME, nullable=False),
    Column("champion", Integer, nullable=False),  # version that it starts from and is compared with
    Column("policy", NAME, nullable=False),
    Column("plan", VALUE, nullable=False),  # everything that defines it
    Column("began", Double, nullable=False),
    Column("verdict", VALUE),  # written once
    Column("decided", Double),
    Column("version", Integer),  # of the candidate, once it is about to be made champion
    Column("outcome", String(16)),  # None while in work
    Column("ended", Double),
    # One plan of a model is in work at a time, whatever the programs think.
    Index(
        "ix_retrain_plans_in_work",
        "model",
        unique=True,
        sqlite_where=sa.text("outcome IS NULL"),
        postgresql_where=sa.text("outcome IS NULL"),
    ),
    Index("ix_retrain_plans_version", "model", "version"),
)

steps = Table(
    "retrain_steps",
    metadata,
    Column("plan_key", KEY, ForeignKey("retrain_plans.plan_key"), primary_key=True),
    Column("step", String(32), primary_key=True),
    Column("facts", VALUE, nullable=False),
    Column("fence", Integer, nullable=False),  # of the lease under which it was done
    Column("after_verdict", Boolean, nullable=False),  # done again when a person overrides
    Column("at", Double, nullable=False),
)

uses = Table(  # of the batches that a plan added, written in the transaction that ends it
    "retrain_uses",
    metadata,
    Column("plan_key", KEY, ForeignKey("retrain_plans.plan_key"), primary_key=True),
    Column("batch", KEY, primary_key=True),
    Column("use", String(16), nullable=False),  # consumed, evaluated
)

leases = Table(
    "retrain_leases",
    metadata,
    Column("name", NAME, primary_key=True),
    Column("token", Integer, nullable=False),  # the fence: grows with every lease
    Column("holder", Text),  # None when free
    Column("process", VALUE),  # where a process can be looked up, a dead one's lease is free at once
    Column("since", Double, nullable=False),
    Column("until", Double, nullable=False),
)

events = Table(  # append-only
    "retrain_events",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("actor", Text, nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", NAME, nullable=False),
    Column("detail", VALUE, nullable=False),
    Index("ix_retrain_events_subject", "action", "subject"),
)

APPEND_ONLY = ("retrain_events",)
WRITERS = 7318050
"""PostgreSQL's advisory lock of the ledger's writers, who take turns there as SQLite's do."""


def build(connection: Connection) -> None:
    """Create what is absent, in the transaction at hand."""
    take_turn(connection)
    metadata.create_all(connection)
    keep_as_written(connection, APPEND_ONLY)


def take_turn(connection: Connection) -> None:
    """Wait until no other transaction writes the ledger; on SQLite a transaction that writes has begun that way."""
    if connection.dialect.name == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(WRITERS)))
