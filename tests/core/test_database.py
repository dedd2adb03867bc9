"""A database that is gone is one sentence for a person; what a database answers stays what it is."""

import sqlite3
import threading

import pytest
import sqlalchemy as sa

from pipeline.core.database import Database, UnreachedError


def build(connection):
    connection.execute(sa.text("CREATE TABLE IF NOT EXISTS told (word VARCHAR(9) PRIMARY KEY)"))


def tell(database, word):
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO told VALUES (:word)"), {"word": word})


def stopped_while_telling(database, word, stop):
    with database.write() as connection:
        connection.execute(sa.text("INSERT INTO told VALUES (:word)"), {"word": word})
        stop()


def test_a_server_that_stops_in_mid_transaction_is_one_sentence(dying_postgres):
    url, stop = dying_postgres
    database = Database(url, build)
    tell(database, "first")
    gone = r"^The database does not answer \(.+\)\. Received: postgresql.* Fix: see that it runs"
    with pytest.raises(UnreachedError, match=gone):
        stopped_while_telling(database, "second", stop)
    with pytest.raises(UnreachedError, match=gone):
        tell(database, "third")
    with pytest.raises(UnreachedError, match=gone), database.read():
        pytest.fail("entered")
    database.close()


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_what_a_database_answers_stays_what_it_is(kind, new_database):
    database = Database(new_database(kind), build)
    tell(database, "once")
    with pytest.raises(sa.exc.IntegrityError):
        tell(database, "once")
    with pytest.raises(sa.exc.DBAPIError, match="nowhere"), database.read() as connection:
        connection.execute(sa.text("SELECT * FROM nowhere"))
    with pytest.raises(ZeroDivisionError), database.write():
        1 / 0  # noqa: B018 (the body's own errors pass)
    database.close()


def test_a_locked_file_is_no_defect_either(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.core.database.BUSY_MS", 10)
    database = Database(str(tmp_path / "a.db"), build)
    with sqlite3.connect(tmp_path / "a.db", isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(UnreachedError, match="database is locked"):
            tell(database, "late")
    database.close()


def test_opening_waits_for_another_that_writes_the_new_file(tmp_path):
    """SQLite gives up at once there, whatever its busy timeout: the other's lock would have to become a reader's."""
    path = tmp_path / "new.db"
    other = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    other.execute("CREATE TABLE t (a)")
    other.execute("BEGIN IMMEDIATE")
    end = threading.Timer(0.3, other.execute, ["COMMIT"])
    end.start()
    Database(str(path), lambda connection: None).close()
    end.join()
    other.close()
