"""What the store keeps, as SQLAlchemy Core tables; the migrations build exactly these.

Names of foreign columns are the singular of their table. Times are seconds since 1970. JSON columns hold what the
schema of the service says of them; nothing in the store is a path, except where a campaign's prepared data set lies.
"""

from sqlalchemy import (
    JSON,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData(
    naming_convention={
        "pk": "pk_%(table_name)s",
        "fk": "fk_%(table_name)s_%(column_0_name)s",
        "uq": "uq_%(table_name)s_%(column_0_name)s",
        "ix": "ix_%(table_name)s_%(column_0_name)s",
    }
)
ID = String(64)
VALUE = JSON(none_as_null=True)

users = Table(
    "users",
    metadata,
    Column("id", ID, primary_key=True),  # a pseudonym; the name stays in this table
    Column("name", Text, nullable=False),
    Column("role", String(16), nullable=False),
    Column("language", String(8), nullable=False),
    Column("settings", VALUE, nullable=False),
    Column("active", Boolean, nullable=False),
    Column("created", Double, nullable=False),
    Column("seen", Double),
)

tokens = Table(
    "tokens",
    metadata,
    Column("hash", ID, primary_key=True),  # SHA-256 of 256 random bits: nothing to guess, so nothing to slow down
    Column("user", ID, ForeignKey("users.id"), nullable=False),
    Column("kind", String(16), nullable=False),  # invitation or session
    Column("created", Double, nullable=False),
    Column("expires", Double, nullable=False),
    Index("ix_tokens_user", "user"),
)

campaigns = Table(
    "campaigns",
    metadata,
    Column("id", ID, primary_key=True),
    Column("checksum", ID, nullable=False),  # of the imported folder
    Column("created", Double, nullable=False),
    Column("root", Text, nullable=False),  # of the prepared data set
    Column("facts", VALUE, nullable=False),  # campaign.json
)

items = Table(
    "items",
    metadata,
    Column("uid", ID, primary_key=True),
    Column("campaign", ID, ForeignKey("campaigns.id"), nullable=False),
    Column("video", Text, nullable=False),
    Column("label", Integer, nullable=False),
    Column("kind", String(16), nullable=False),  # work, gold (truth known, for practice), example
    Column("split", String(16), nullable=False),  # train or heldout_edit
    Column("state", String(16), nullable=False),
    Column("double", Boolean, nullable=False),  # two people annotate it
    Column("num_frames", Integer, nullable=False),
    Column("fps", Double, nullable=False),
    Column("width", Integer, nullable=False),
    Column("height", Integer, nullable=False),
    Column("content", ID, nullable=False),
    Column("turn", Integer, nullable=False),  # rank by priority within its class: the round of the round robin
    Column("priority", Double, nullable=False),
    Column("facts", VALUE, nullable=False),  # attention, top5, window, windows, ...
    Column("truth", VALUE),  # scores of gold and example items
    Column("decision", String(16), nullable=False),  # "", single, agreed, adjudicated
    Column("reviewed", Boolean, nullable=False),
    Column("note", Text, nullable=False),  # of the reviewer who gave it back; an example's caption
    UniqueConstraint("campaign", "video", name="uq_items_campaign_video"),
    Index("ix_items_state", "campaign", "kind", "state"),
)

tasks = Table(
    "tasks",
    metadata,
    Column("id", Integer, primary_key=True, autoincrement=True),
    Column("item", ID, ForeignKey("items.uid"), nullable=False),
    Column("campaign", ID, ForeignKey("campaigns.id"), nullable=False),
    Column("label", Integer, nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("state", String(16), nullable=False),  # waiting, open, done, void
    Column("turn", Integer, nullable=False),
    Column("priority", Double, nullable=False),
    Column("only", ID, ForeignKey("users.id")),  # the one person who may do it (practice)
    Column("init", String(8), nullable=False),
    Column("init_fixed", Boolean, nullable=False),
    Column("holder", ID, ForeignKey("users.id")),  # while leased; after `done`, who did it
    Column("lease", ID, unique=True),
    Column("fence", Integer, nullable=False),  # grows with every claim and takeover; an older one cannot write
    Column("tab", ID),
    Column("expires", Double, nullable=False),
    Index("ix_tasks_queue", "campaign", "state", "turn", "priority"),
    Index("ix_tasks_item", "item"),
    Index("ix_tasks_holder", "holder", "state"),
)

drafts = Table(
    "drafts",
    metadata,
    Column("task", Integer, ForeignKey("tasks.id"), primary_key=True),
    Column("user", ID, ForeignKey("users.id"), primary_key=True),
    Column("version", Integer, nullable=False),
    Column("answer", VALUE, nullable=False),
    Column("saved", Double, nullable=False),
    Index("ix_drafts_user", "user"),
)

submissions = Table(  # append-only
    "submissions",
    metadata,
    Column("task", Integer, ForeignKey("tasks.id"), primary_key=True),
    Column("item", ID, ForeignKey("items.uid"), nullable=False),
    Column("user", ID, ForeignKey("users.id"), nullable=False),
    Column("purpose", String(16), nullable=False),
    Column("answer", VALUE, nullable=False),
    Column("seconds", Double, nullable=False),
    Column("distance", Double),  # from the truth, of practice alone
    Column("submitted", Double, nullable=False),
    Index("ix_submissions_item", "item"),
    Index("ix_submissions_user", "user"),
)

operations = Table(  # append-only: every accepted operation and what was answered
    "operations",
    metadata,
    Column("user", ID, ForeignKey("users.id"), primary_key=True),
    Column("operation", ID, primary_key=True),
    Column("kind", String(16), nullable=False),
    Column("fingerprint", ID, nullable=False),  # of the request: an id that comes back with another one is refused
    Column("task", Integer),
    Column("request", VALUE, nullable=False),
    Column("answer", VALUE, nullable=False),
    Column("at", Double, nullable=False),
)

comparisons = Table(
    "comparisons",
    metadata,
    Column("item", ID, ForeignKey("items.uid"), primary_key=True),
    Column("kappa", Double),
    Column("distance", Double, nullable=False),
    Column("agreed", Boolean, nullable=False),
)

flags = Table(  # append-only
    "flags",
    metadata,
    Column("task", Integer, ForeignKey("tasks.id"), primary_key=True),
    Column("item", ID, ForeignKey("items.uid"), nullable=False),
    Column("user", ID, ForeignKey("users.id"), nullable=False),
    Column("reason", String(16), nullable=False),
    Column("note", Text, nullable=False),
    Column("at", Double, nullable=False),
    Index("ix_flags_item", "item"),
)

batches = Table(
    "batches",
    metadata,
    Column("id", ID, primary_key=True),
    Column("campaign", ID, ForeignKey("campaigns.id"), nullable=False),
    Column("sequence", Integer, nullable=False),
    Column("items", Integer, nullable=False),
    Column("sealed", Double, nullable=False),
    Column("manifest", VALUE),  # None until its files are in their place
    UniqueConstraint("campaign", "sequence", name="uq_batches_campaign_sequence"),
)

batch_items = Table(  # append-only; the primary key is what keeps an item out of a second batch
    "batch_items",
    metadata,
    Column("item", ID, ForeignKey("items.uid"), primary_key=True),
    Column("batch", ID, ForeignKey("batches.id"), nullable=False),
    Index("ix_batch_items_batch", "batch"),
)

audit = Table(  # append-only, hash-chained
    "audit",
    metadata,
    Column("sequence", Integer, primary_key=True, autoincrement=False),
    Column("at", Double, nullable=False),
    Column("actor", ID, nullable=False),
    Column("action", String(32), nullable=False),
    Column("subject", ID, nullable=False),
    Column("detail", VALUE, nullable=False),
    Column("previous", ID, nullable=False),
    Column("hash", ID, nullable=False),
)

APPEND_ONLY = ("submissions", "operations", "flags", "batch_items", "audit")
"""Triggers refuse to change or delete their rows."""
