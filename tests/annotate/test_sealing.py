"""Sealed batches: immutable, whole or absent, each item once; killed at every point."""

import os
import warnings

import numpy as np
import pyarrow.parquet as pq
import pytest
import sqlalchemy as sa

from pipeline.annotate import answers, audit, queue, sealing
from pipeline.annotate.batches import SCHEMA, BatchRow, batch_id, read_batch, write_batch
from pipeline.annotate.database import Database
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.importing import item_uid
from pipeline.annotate.schema import Claim
from pipeline.annotate.schema_admin import Review
from pipeline.annotate.schema_items import DraftIn, Flag
from pipeline.annotate.sealing import seal
from pipeline.annotate.tables import batch_items, items
from pipeline.core import storage
from pipeline.core.errors import UserError


def row(video="a/b c", frames=5, **values):
    known = {
        "video_id": video,
        "dataset": "folder",
        "label": 1,
        "num_frames": frames,
        "fps": 12.0,
        "scores": (0.0, 0.5, 1.0, None, 0.75),
        "source": (0, 1, 2, None, 0),
        "init": "mixed",
        "annotators": ("p1", "p2"),
        "n_annotators": 2,
        "kappa": 0.5,
        "decision": "agreed",
        "model_version_shown": "m v1",
        "editor_version": "1",
        "submitted_at": 12.5,
        "seconds_spent": 20.25,
        "spatial_frames": (1,),
        "spatial_maps": (tuple([0.5] * 196),),
    }
    return BatchRow(**(known | values))


def answer_all(database, campaign, people, levels, limit=1000):
    """Let people answer until nothing is left; person n gives level n everywhere."""
    for _ in range(limit):
        done = 0
        for person, level in zip(people, levels, strict=True):
            with database.write() as connection:
                mode = "adjudicate" if person.role == "reviewer" else "annotate"
                wish = Claim(campaign=campaign, tab="tab", mode=mode)
                lease = queue.claim(connection, database.clock(), person, wish)[0].lease
                if lease is None:
                    continue
                frames = connection.scalar(sa.select(items.c.num_frames).where(items.c.uid == lease.item))
                answer = DraftIn(scores=[level] * frames, sources=["human"] * frames, init="blank", seconds=2)
                database.clock.now += 1
                answers.submit(connection, database.clock(), person.id, lease.item, lease.token, 0, answer)
                done += 1
        if not done:
            return


def test_a_batch_is_named_by_its_rows(tmp_path):
    rows = [row(f"v{n}") for n in range(7)]
    manifest = write_batch(str(tmp_path), rows, {"model": "m v1"})
    batch = read_batch(str(tmp_path / manifest["batch"]))
    assert sorted(batch.rows, key=lambda r: r.video_id) == rows
    assert batch.id == batch_id(rows[::-1]) == manifest["batch"]
    assert batch_id([*rows[1:], row("v0", kappa=0.25)]) != batch.id
    assert pq.read_table(tmp_path / batch.id / "part-00000.parquet").schema.equals(SCHEMA)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / batch.id).iterdir()}
    assert write_batch(str(tmp_path), rows, {"model": "another"})["model"] == "m v1"
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / batch.id).iterdir()} == before


def test_every_flipped_bit_is_found_and_its_file_named(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.annotate.batches.PART_ROWS", 2)
    manifest = write_batch(str(tmp_path), [row(f"v{n}") for n in range(5)], {"model": "m v1"})
    folder = tmp_path / manifest["batch"]
    assert [part["rows"] for part in manifest["parts"]] == [2, 2, 1]
    rng = np.random.default_rng(0)
    for path in sorted(folder.iterdir()):
        whole = path.read_bytes()
        everywhere = range(len(whole)) if path.suffix == ".json" else rng.integers(0, len(whole), 40)
        for place in everywhere:
            broken = bytearray(whole)
            broken[place] ^= 1 << int(rng.integers(8))
            path.write_bytes(broken)
            with pytest.raises(UserError, match=path.name):
                read_batch(str(folder))
        path.write_bytes(whole)
    read_batch(str(folder))
    (folder / "part-00001.parquet").unlink()
    with pytest.raises(UserError, match=r"lacks a file: .*part-00001\.parquet"):
        read_batch(str(folder))
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="no sealed batch"):
        read_batch(str(folder))


def test_a_batch_under_another_name_is_refused(tmp_path):
    manifest = write_batch(str(tmp_path), [row()], {})
    (tmp_path / manifest["batch"]).rename(tmp_path / "other")
    with pytest.raises(UserError, match="not the one that its name says"):
        read_batch(str(tmp_path / "other"))


def test_rows_that_make_no_batch(tmp_path):
    for rows in ([], [row(), row(kappa=0.25)]):
        with pytest.raises(UserError, match="make no batch"):
            write_batch(str(tmp_path), rows, {})


def test_a_campaign_is_sealed_with_all_that_people_did(store, loaded, person_in, tmp_path):
    campaign = loaded(store, double_share=0.5, heldout_share=0.3)
    ada, ben = person_in(store, "Ada"), person_in(store, "Ben")
    eva = person_in(store, "Eva", "reviewer")
    answer_all(store, campaign, [ada, ben, eva], [0.0, 1.0, 0.5])
    manifest = seal(store, campaign, str(tmp_path), eva.id)
    batch = read_batch(str(tmp_path / manifest["batch"]))
    assert manifest["items"] == 24
    assert manifest["decisions"] == {"adjudicated": 12, "single": 12}
    assert manifest["agreement"]["double"] == 12
    assert manifest["agreement"]["mean_distance"] == 1.0
    for one in batch.rows:
        if one.decision == "adjudicated":
            assert set(one.scores) == {0.5}
            assert (one.n_annotators, one.seconds_spent, one.annotators[-1]) == (3, 6.0, eva.id)
        else:
            assert one.scores[0] == (0.0 if one.annotators == (ada.id,) else 1.0)
    assert 0 < manifest["splits"]["heldout_edit"] < 12
    assert manifest["splits"]["heldout_edit"] == sum(one.split == "heldout_edit" for one in batch.rows)
    assert seal(store, campaign, str(tmp_path), eva.id) is None
    with store.read() as connection:
        assert set(connection.scalars(sa.select(items.c.state))) == {"sealed"}
        assert [line.action for line in audit.read(connection, limit=1000)].count("seal") == 1


def test_two_who_agree_give_the_median_and_later_answers_the_next_batch(store, loaded, person_in, tmp_path):
    campaign = loaded(store, double_share=1.0, agree_distance=0.6)
    ada, ben = person_in(store, "Ada"), person_in(store, "Ben")
    answer_all(store, campaign, [ada, ben], [0.5, 1.0], limit=6)
    first = seal(store, campaign, str(tmp_path))
    batch = read_batch(str(tmp_path / first["batch"]))
    assert {score for one in batch.rows for score in one.scores} == {0.75}
    assert {one.decision for one in batch.rows} == {"agreed"}
    answer_all(store, campaign, [ada, ben], [0.5, 1.0])
    second = seal(store, campaign, str(tmp_path))
    assert (first["sequence"], second["sequence"]) == (1, 2)
    assert first["items"] + second["items"] == 24
    other = read_batch(str(tmp_path / second["batch"]))
    assert not {one.video_id for one in batch.rows} & {one.video_id for one in other.rows}


def test_a_batch_says_how_many_clips_nobody_would_judge_since_the_one_before(store, loaded, person_in, tmp_path):
    campaign = loaded(store, double_share=0.0)
    ada, eva = person_in(store, "Ada"), person_in(store, "Eva", "reviewer")

    def flag_one():
        with store.write() as connection:
            lease = queue.claim(connection, store.clock(), ada, Claim(campaign=campaign, tab="tab"))[0].lease
            store.clock.now += 1
            answers.flag(connection, store.clock(), ada.id, lease.item, lease.token, Flag(reason="wrong_label"))
        return lease.item

    back, _ = flag_one(), flag_one()
    with store.write() as connection:
        answers.review(connection, store.clock(), eva.id, back, Review(decision="return"))
    answer_all(store, campaign, [ada], [0.5], limit=4)
    first = seal(store, campaign, str(tmp_path))
    store.clock.now += 1
    flag_one()
    answer_all(store, campaign, [ada], [0.5])
    second = seal(store, campaign, str(tmp_path))
    answered = {item_uid(campaign, one.video_id) for one in read_batch(str(tmp_path / first["batch"])).rows}
    assert (first["flagged"], second["flagged"]) == (1 if back in answered else 2, 1)
    assert first["items"] + second["items"] == 22


def test_an_unknown_campaign(lite, tmp_path):
    with pytest.raises(RefusedError, match="no such campaign"):
        seal(lite, "none", str(tmp_path))


def test_an_item_cannot_be_in_two_batches(store, loaded, person_in, tmp_path):
    campaign = loaded(store, double_share=0.0)
    answer_all(store, campaign, [person_in(store)], [0.5], limit=1)
    seal(store, campaign, str(tmp_path))
    with store.read() as connection:
        held = connection.execute(sa.select(batch_items)).one()
    with pytest.raises(sa.exc.IntegrityError), store.write() as connection:
        connection.execute(batch_items.insert().values(item=held.item, batch=held.batch))


STEPS = ("decided", "committed", "part", "manifest", "recorded")


def die_at(step):
    """Make the process end, as if killed, when it comes to a step of sealing."""

    def before(module, name, condition):
        real = getattr(module, name)

        def dying(*args, **kwargs):
            if condition(*args):
                os._exit(9)
            return real(*args, **kwargs)

        setattr(module, name, dying)

    if step == "decided":  # all is written, nothing committed
        before(audit, "append", lambda *args: args[3] == "seal")
    elif step == "committed":  # the store has decided, no file is there
        before(sealing, "write_batch", lambda *args: True)
    elif step == "part":
        before(storage, "publish_bytes", lambda uri, data: uri.endswith("part-00001.parquet"))
    elif step == "manifest":
        before(storage, "publish_bytes", lambda uri, data: uri.endswith("manifest.json"))
    else:  # the files are there, the store does not know it
        real = sealing.write_batch

        def write_and_die(*args):
            real(*args)
            os._exit(9)

        sealing.write_batch = write_and_die


@pytest.mark.parametrize("step", STEPS)
def test_a_killed_seal_loses_nothing_and_does_nothing_twice(lite, loaded, person_in, tmp_path, monkeypatch, step):
    monkeypatch.setattr("pipeline.annotate.batches.PART_ROWS", 9)
    campaign = loaded(lite, double_share=0.0)
    answer_all(lite, campaign, [person_in(lite)], [0.5])
    where, clock = lite.url.database, lite.clock
    lite.close()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # Python 3.12's on threads, which the child does not use
        child = os.fork()
    if child == 0:
        die_at(step)
        seal(Database(where, clock), campaign, str(tmp_path))
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    again = Database(where, clock)
    clock.now += 100  # the batch is what it was, not what the clock says now
    manifest = seal(again, campaign, str(tmp_path))
    batch = read_batch(str(tmp_path / manifest["batch"]))
    assert len(batch.rows) == 24
    assert os.listdir(tmp_path) == [manifest["batch"]]
    assert seal(again, campaign, str(tmp_path)) is None
    with again.read() as connection:
        assert len(connection.execute(sa.select(batch_items)).all()) == 24
        lines = audit.read(connection, limit=1000)
        assert audit.intact(lines)
        assert [line.action for line in lines].count("seal") == 1
    again.close()
