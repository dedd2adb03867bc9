"""The first tables, and the triggers that keep what is append-only as it was written."""

import sqlalchemy as sa
from alembic import op

from pipeline.core.database import keep_as_written

revision = "0001"
down_revision = None

APPEND_ONLY = ("submissions", "operations", "flags", "batch_items", "audit")


def upgrade() -> None:
    """Create everything."""
    _people()
    _campaigns()
    _tasks()
    _answers()
    _record()
    keep_as_written(op.get_bind(), APPEND_ONLY)


def _people() -> None:
    op.create_table(
        "users",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("role", sa.String(length=16), nullable=False),
        sa.Column("language", sa.String(length=8), nullable=False),
        sa.Column("settings", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("seen", sa.Double(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
    )
    op.create_table(
        "tokens",
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_tokens_user")),
        sa.PrimaryKeyConstraint("hash", name=op.f("pk_tokens")),
    )
    op.create_index("ix_tokens_user", "tokens", ["user"], unique=False)


def _campaigns() -> None:
    op.create_table(
        "campaigns",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("checksum", sa.String(length=64), nullable=False),
        sa.Column("created", sa.Double(), nullable=False),
        sa.Column("root", sa.Text(), nullable=False),
        sa.Column("facts", sa.JSON(none_as_null=True), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_campaigns")),
    )
    op.create_table(
        "items",
        sa.Column("uid", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("video", sa.Text(), nullable=False),
        sa.Column("label", sa.Integer(), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("split", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("double", sa.Boolean(), nullable=False),
        sa.Column("num_frames", sa.Integer(), nullable=False),
        sa.Column("fps", sa.Double(), nullable=False),
        sa.Column("width", sa.Integer(), nullable=False),
        sa.Column("height", sa.Integer(), nullable=False),
        sa.Column("content", sa.String(length=64), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False),
        sa.Column("facts", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("truth", sa.JSON(none_as_null=True), nullable=True),
        sa.Column("decision", sa.String(length=16), nullable=False),
        sa.Column("reviewed", sa.Boolean(), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], name=op.f("fk_items_campaign")),
        sa.PrimaryKeyConstraint("uid", name=op.f("pk_items")),
        sa.UniqueConstraint("campaign", "video", name="uq_items_campaign_video"),
    )
    op.create_index("ix_items_state", "items", ["campaign", "kind", "state"], unique=False)


def _tasks() -> None:
    op.create_table(
        "tasks",
        sa.Column("id", sa.Integer(), autoincrement=True, nullable=False),
        sa.Column("item", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("label", sa.Integer(), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("state", sa.String(length=16), nullable=False),
        sa.Column("turn", sa.Integer(), nullable=False),
        sa.Column("priority", sa.Double(), nullable=False),
        sa.Column("only", sa.String(length=64), nullable=True),
        sa.Column("init", sa.String(length=8), nullable=False),
        sa.Column("init_fixed", sa.Boolean(), nullable=False),
        sa.Column("holder", sa.String(length=64), nullable=True),
        sa.Column("lease", sa.String(length=64), nullable=True),
        sa.Column("fence", sa.Integer(), nullable=False),
        sa.Column("tab", sa.String(length=64), nullable=True),
        sa.Column("expires", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], name=op.f("fk_tasks_campaign")),
        sa.ForeignKeyConstraint(["holder"], ["users.id"], name=op.f("fk_tasks_holder")),
        sa.ForeignKeyConstraint(["item"], ["items.uid"], name=op.f("fk_tasks_item")),
        sa.ForeignKeyConstraint(["only"], ["users.id"], name=op.f("fk_tasks_only")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tasks")),
        sa.UniqueConstraint("lease", name=op.f("uq_tasks_lease")),
    )
    op.create_index("ix_tasks_holder", "tasks", ["holder", "state"], unique=False)
    op.create_index("ix_tasks_item", "tasks", ["item"], unique=False)
    op.create_index("ix_tasks_queue", "tasks", ["campaign", "state", "turn", "priority"], unique=False)
    op.create_table(
        "drafts",
        sa.Column("task", sa.Integer(), nullable=False),
        sa.Column("user", sa.String(length=64), nullable=False),
        sa.Column("version", sa.Integer(), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("saved", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["task"], ["tasks.id"], name=op.f("fk_drafts_task")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_drafts_user")),
        sa.PrimaryKeyConstraint("task", "user", name=op.f("pk_drafts")),
    )
    op.create_index("ix_drafts_user", "drafts", ["user"], unique=False)


def _answers() -> None:
    op.create_table(
        "submissions",
        sa.Column("task", sa.Integer(), nullable=False),
        sa.Column("item", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=64), nullable=False),
        sa.Column("purpose", sa.String(length=16), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("seconds", sa.Double(), nullable=False),
        sa.Column("distance", sa.Double(), nullable=True),
        sa.Column("submitted", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["item"], ["items.uid"], name=op.f("fk_submissions_item")),
        sa.ForeignKeyConstraint(["task"], ["tasks.id"], name=op.f("fk_submissions_task")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_submissions_user")),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_submissions")),
    )
    op.create_index("ix_submissions_item", "submissions", ["item"], unique=False)
    op.create_index("ix_submissions_user", "submissions", ["user"], unique=False)
    op.create_table(
        "comparisons",
        sa.Column("item", sa.String(length=64), nullable=False),
        sa.Column("kappa", sa.Double(), nullable=True),
        sa.Column("distance", sa.Double(), nullable=False),
        sa.Column("agreed", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["item"], ["items.uid"], name=op.f("fk_comparisons_item")),
        sa.PrimaryKeyConstraint("item", name=op.f("pk_comparisons")),
    )
    op.create_table(
        "flags",
        sa.Column("task", sa.Integer(), nullable=False),
        sa.Column("item", sa.String(length=64), nullable=False),
        sa.Column("user", sa.String(length=64), nullable=False),
        sa.Column("reason", sa.String(length=16), nullable=False),
        sa.Column("note", sa.Text(), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["item"], ["items.uid"], name=op.f("fk_flags_item")),
        sa.ForeignKeyConstraint(["task"], ["tasks.id"], name=op.f("fk_flags_task")),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_flags_user")),
        sa.PrimaryKeyConstraint("task", name=op.f("pk_flags")),
    )
    op.create_index("ix_flags_item", "flags", ["item"], unique=False)


def _record() -> None:
    op.create_table(
        "operations",
        sa.Column("user", sa.String(length=64), nullable=False),
        sa.Column("operation", sa.String(length=64), nullable=False),
        sa.Column("kind", sa.String(length=16), nullable=False),
        sa.Column("fingerprint", sa.String(length=64), nullable=False),
        sa.Column("task", sa.Integer(), nullable=True),
        sa.Column("request", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("answer", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.ForeignKeyConstraint(["user"], ["users.id"], name=op.f("fk_operations_user")),
        sa.PrimaryKeyConstraint("user", "operation", name=op.f("pk_operations")),
    )
    op.create_table(
        "batches",
        sa.Column("id", sa.String(length=64), nullable=False),
        sa.Column("campaign", sa.String(length=64), nullable=False),
        sa.Column("sequence", sa.Integer(), nullable=False),
        sa.Column("items", sa.Integer(), nullable=False),
        sa.Column("sealed", sa.Double(), nullable=False),
        sa.Column("manifest", sa.JSON(none_as_null=True), nullable=True),
        sa.ForeignKeyConstraint(["campaign"], ["campaigns.id"], name=op.f("fk_batches_campaign")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_batches")),
        sa.UniqueConstraint("campaign", "sequence", name="uq_batches_campaign_sequence"),
    )
    op.create_table(
        "batch_items",
        sa.Column("item", sa.String(length=64), nullable=False),
        sa.Column("batch", sa.String(length=64), nullable=False),
        sa.ForeignKeyConstraint(["batch"], ["batches.id"], name=op.f("fk_batch_items_batch")),
        sa.ForeignKeyConstraint(["item"], ["items.uid"], name=op.f("fk_batch_items_item")),
        sa.PrimaryKeyConstraint("item", name=op.f("pk_batch_items")),
    )
    op.create_index("ix_batch_items_batch", "batch_items", ["batch"], unique=False)
    op.create_table(
        "audit",
        sa.Column("sequence", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("at", sa.Double(), nullable=False),
        sa.Column("actor", sa.String(length=64), nullable=False),
        sa.Column("action", sa.String(length=32), nullable=False),
        sa.Column("subject", sa.String(length=64), nullable=False),
        sa.Column("detail", sa.JSON(none_as_null=True), nullable=False),
        sa.Column("previous", sa.String(length=64), nullable=False),
        sa.Column("hash", sa.String(length=64), nullable=False),
        sa.PrimaryKeyConstraint("sequence", name=op.f("pk_audit")),
    )
