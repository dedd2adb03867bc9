"""The database: opened, migrated (pipeline/annotate/migrations/env.py), protected; on SQLite and PostgreSQL."""

import shutil
import sqlite3
import threading
import time
from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from pipeline.annotate import audit
from pipeline.annotate import database as store_database
from pipeline.annotate.database import Database
from pipeline.annotate.migrations.versions import step_0001_first
from pipeline.annotate.tables import APPEND_ONLY, metadata, users
from pipeline.core.database import BUSY_MS
from pipeline.core.errors import UserError


def test_the_migrations_build_the_tables_that_the_code_uses(store):
    with store.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []
    assert step_0001_first.APPEND_ONLY == APPEND_ONLY


def test_opening_again_keeps_what_is_there(store, person_in):
    person = person_in(store)
    again = Database(store.url.render_as_string(hide_password=False))
    with again.read() as connection:
        assert connection.scalars(sa.select(users.c.id)).all() == [person.id]
    again.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_two_servers_may_open_a_new_database_at_the_same_time(new_database, kind):
    where, opened = new_database(kind), []
    threads = [threading.Thread(target=lambda: opened.append(Database(where))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(opened) == 4
    for database in opened:
        database.close()


def test_sqlite_runs_as_decided(lite):
    with lite.read() as connection:
        names = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        values = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in names]
    assert values == ["wal", 1, 1, BUSY_MS]


def test_a_failed_transaction_leaves_nothing(store, person_in):
    person_in(store)

    def fail():
        with store.write() as connection:
            connection.execute(sa.update(users).values(name="changed"))
            raise RuntimeError("on purpose")

    with pytest.raises(RuntimeError, match="on purpose"):
        fail()
    with store.read() as connection:
        assert connection.scalars(sa.select(users.c.name)).all() == ["Ada"]


@pytest.mark.parametrize("verb", ["UPDATE", "DELETE"])
def test_what_is_append_only_cannot_be_changed(store, person_in, verb):
    person_in(store)
    # SQLite's triggers fire by row: those of tables that are empty here are looked up instead.
    tables = APPEND_ONLY if not store.sqlite else ("audit",)
    for table in tables:
        column = next(iter(metadata.tables[table].c)).name
        statement = f'UPDATE {table} SET "{column}" = "{column}"' if verb == "UPDATE" else f"DELETE FROM {table}"
        with pytest.raises(sa.exc.DBAPIError, match=f"{table} is append-only"), store.write() as connection:
            connection.execute(sa.text(statement))
    if store.sqlite:
        with store.read() as connection:
            found = connection.execute(sa.text("SELECT tbl_name, sql FROM sqlite_master WHERE type = 'trigger'")).all()
        assert sorted(name for name, sql in found if f"BEFORE {verb}" in sql) == sorted(APPEND_ONLY)


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("mysql://x/y", "cannot be used"),
        ("sqlite://", "cannot be used"),
        ("not a url://", "cannot be used"),
        ("postgresql://nobody:secret@127.0.0.1:1/none", "cannot be opened"),
    ],
)
def test_a_database_that_cannot_be_is_said_so_without_its_password(where, said):
    with pytest.raises(UserError, match=said) as caught:
        Database(where)
    assert "secret" not in str(caught.value)


def test_a_path_where_no_file_can_be(tmp_path):
    (tmp_path / "a folder.db").mkdir()
    with pytest.raises(UserError, match="cannot be opened"):
        Database(str(tmp_path / "a folder.db"))


def test_the_record_is_chained(store):
    for number in range(5):
        with store.write() as connection:
            audit.append(connection, 1.5 + number, "actor", "did", "subject", {"n": number, "share": 0.1})
    with store.read() as connection:
        rows, head = audit.read(connection), audit.head(connection)
    assert [row.sequence for row in rows] == [1, 2, 3, 4, 5]
    assert head == {"sequence": 5, "hash": rows[-1].hash}
    assert audit.intact(rows)
    assert audit.intact(rows[2:], rows[1])
    for broken in (
        rows[1:],  # the beginning is gone
        [*rows[:2], *rows[3:]],  # a line is gone
        [*rows[:2], rows[2].model_copy(update={"actor": "other"}), *rows[3:]],
        [rows[1], rows[0], *rows[2:]],
    ):
        assert not audit.intact(broken)


def test_the_record_stays_a_chain_with_many_writers(store):
    def write(actor):
        for _ in range(5):
            with store.write() as connection:
                audit.append(connection, 1.0, actor, "did", "subject")

    threads = [threading.Thread(target=write, args=(f"actor{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with store.read() as connection:
        rows = audit.read(connection)
    assert len(rows) == 40
    assert audit.intact(rows)


def test_what_a_log_holds_is_moved_into_the_file_while_people_write(lite, person_in, tmp_path):
    person_in(lite)
    before = Path(lite.url.database).stat().st_size
    with lite.write() as connection:  # a writer in the middle of its work makes nobody wait
        connection.execute(sa.update(users).values(name="half"))
        lite.checkpoint()
    assert Path(lite.url.database).stat().st_size > before
    copy = tmp_path / "without-log.db"
    shutil.copy(lite.url.database, copy)
    with sqlite3.connect(copy) as connection:
        assert connection.execute("SELECT name FROM users").fetchall() == [("Ada",)]
    connection.close()


def test_a_tended_database_moves_its_log_by_itself(lite, person_in, monkeypatch):
    monkeypatch.setattr(store_database, "TEND_S", 0.01)
    before = Path(lite.url.database).stat().st_size
    with lite.tended():
        person_in(lite)
        end = time.monotonic() + 30
        while Path(lite.url.database).stat().st_size == before:
            assert time.monotonic() < end
            time.sleep(0.01)
