"""From a version to what it was trained on and back, with real sealed batches and a real prepared data set."""

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import asdict, replace

import pytest

from jobs import lineage as job
from pipeline.annotate.batches import BatchRow, read_batch, write_batch
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.store.prepared import PreparedDataset
from pipeline.finetune.edits import read_edits
from pipeline.retrain import attempt
from pipeline.retrain.champions import Champions
from pipeline.retrain.lineage import (
    TrainingRow,
    canonical,
    list_hash,
    of_clip,
    of_version,
    planned_list,
    rebuild,
    shares,
    training_list,
)
from pipeline.retrain.night import LIST_TAG
from pipeline.retrain.policy import read_policy
from pipeline.train.runs import RunRecord
from pipeline.train.trained_on import RECORD, TrainedOn

MODEL = "star-tiny"
DATA = {"train_split": "validation", "test_split": "train", "fold": 1}
"""The tiny set's validation split is its largest."""


def answer(video, frames, at, people=("p1",), split="train"):
    """What people said of a tiny video, at some time."""
    return BatchRow(
        video_id=video,
        dataset="folder",
        label=int(video.rsplit("-", 1)[1]) % 3,
        num_frames=frames,
        fps=12.0,
        scores=tuple(float(t >= frames // 2) for t in range(frames)),
        source=(0,) * frames,
        init="blank",
        annotators=people,
        n_annotators=len(people),
        kappa=None,
        decision="single",
        model_version_shown="m",
        editor_version="1",
        submitted_at=float(at),
        seconds_spent=20.0,
        split=split,
    )


@pytest.fixture
def dataset(tiny_root):
    return PreparedDataset.open(tiny_root)


@pytest.fixture
def batches(tmp_path):
    """Two sealed batches; the second answers a video again, and its other video is held out of training."""
    root = str(tmp_path / "batches")
    first = [answer("validation-2", 14, 1.0, ("p1", "p2")), answer("validation-3", 5, 2.0)]
    first.append(answer("validation-4", 20, 3.0))
    second = [answer("validation-3", 5, 9.0, ("p3",)), answer("validation-5", 8, 8.0, split="heldout_edit")]
    ids = [write_batch(root, rows, {})["batch"] for rows in (first, second)]
    return {name: storage.join(root, name) for name in ids}


@pytest.fixture
def plan(plan_of, batches, tiny_root):
    first, second = batches
    made = plan_of([second], champion=1, lineage=[first], key="b" * 64)
    recipe = {"data": {**DATA, "root": tiny_root}, "edits": {"batches": list(batches.values())}}
    return replace(made, batch_uris=batches, recipe=recipe)


def run_folder(path, dataset, recipe):
    """A run as training leaves it: its record and what it was trained on."""
    identity = dataset.identity
    TrainedOn(identity, str(path)).keep(dataset.rows)
    record = RunRecord(path.name, "key", "now", recipe, identity.digest, dict(identity.parts))
    storage.write_json(storage.join(str(path), RECORD), asdict(record))
    return str(path / "checkpoint_1")


@pytest.fixture
def world(tmp_path, dataset, plan, memory_registry, lite):
    """Version 1 by people, version 2 by the plan, which the ledger has promoted."""
    client = memory_registry()
    client.create_registered_model(MODEL)
    plain = {"data": plan.recipe["data"]}
    people = {"star.checkpoint": run_folder(tmp_path / "base", dataset, plain)}
    client.create_model_version(MODEL, "", "run 1", people)
    tags = {
        **plan.tags(),
        "star.plan_key": plan.plan_key,
        "star.checkpoint": run_folder(tmp_path / "night", dataset, plan.recipe),
        "star.passport": dataset.passport,
        LIST_TAG: list_hash(planned_list(plan)),
    }
    client.create_model_version(MODEL, "", "run 2", tags)
    lease = lite.lease(MODEL, "test", 1e6)
    lite.begin(plan, lease)
    lite.decide(plan.plan_key, lease, {"passed": True})
    with lite.moving(plan.plan_key, lease, 2):
        pass
    lite.finish(plan.plan_key, lease, "promoted")
    return Champions(MODEL, "memory", client), lite


def test_a_list_is_every_video_of_the_split_and_the_answers_that_training_takes(plan, dataset, batches):
    rows = planned_list(plan)
    assert [row.video for row in rows] == sorted(video.id for video in dataset.videos("validation"))
    edits = read_edits(list(batches.values()))  # what training itself reads
    assert {row.video for row in rows if row.batch} == edits.train.keys()
    assert "validation-5" in edits.heldout
    first, second = batches
    assert {row.video: row.batch for row in rows if row.batch} == {
        "validation-2": first,
        "validation-3": second,  # said again later
        "validation-4": first,
    }


def test_canonical_bytes_are_one_json_value_a_line():
    row = TrainingRow(video="ä", label=1, frames=8, sha256="00", batch="b", revision="r")
    line = '{"batch":"b","frames":8,"label":1,"revision":"r","sha256":"00","video":"ä"}\n'
    assert canonical([row, row]) == (2 * line).encode()
    assert list_hash([row, row]) == hashlib.sha256((2 * line).encode()).hexdigest()


def test_the_order_of_rows_and_batches_does_not_matter(plan, dataset, batches):
    read = [read_batch(uri) for uri in batches.values()]
    there = training_list(plan.recipe["data"], dataset.rows, read)
    assert training_list(plan.recipe["data"], dataset.rows[::-1], read[::-1]) == there


@pytest.mark.parametrize("change", ["label", "frames", "sha256", "status", "split"])
def test_another_video_is_another_list(plan, dataset, batches, change):
    read = [read_batch(uri) for uri in batches.values()]
    other = {"label": 1, "frames": 15, "sha256": "0" * 64, "status": "quarantined", "split": ("train",)}[change]
    rows = [replace(row, **{change: other}) if row.id == "validation-2" else row for row in dataset.rows]
    assert list_hash(training_list(DATA, rows, read)) != list_hash(training_list(DATA, dataset.rows, read))


def test_another_answer_is_another_list(tmp_path, dataset, batches):
    read = [read_batch(uri) for uri in batches.values()]
    changed = replace(read[0].rows[0], scores=(1.0,) * read[0].rows[0].num_frames)
    name = write_batch(str(tmp_path), [changed, *read[0].rows[1:]], {})["batch"]
    other = [read_batch(storage.join(str(tmp_path), name)), read[1]]
    assert list_hash(training_list(DATA, dataset.rows, other)) != list_hash(training_list(DATA, dataset.rows, read))


def test_the_list_of_a_version_is_rebuilt_without_the_prepared_data(world, plan, monkeypatch):
    champions, _ = world
    monkeypatch.setattr(PreparedDataset, "open", None)  # gone, or prepared anew
    rebuilt = rebuild(champions.version(2), plan.batch_uris)
    assert rebuilt.same
    assert rebuilt.sentence().startswith(f"7 videos, 3 of them edited, SHA-256 {rebuilt.recorded}, as recorded")


def test_moved_batches_serve_as_well(world, batches, tmp_path):
    champions, _ = world
    moved = tmp_path / "elsewhere"
    shutil.move(tmp_path / "batches", moved)
    assert rebuild(champions.version(2), {name: str(moved / name) for name in batches}).same
    found = of_version(champions.version(2), champions, world[1], {name: str(moved / name) for name in batches})
    assert {share.uri for share in found.batches} == {str(moved / name) for name in batches}
    with pytest.raises(UserError, match=r"A batch cannot be found.*--batches"):
        rebuild(champions.version(2), {})


def test_another_catalog_is_noticed(world, tmp_path, dataset, plan):
    champions, _ = world
    uri = tmp_path / "night" / "catalog.parquet"
    uri.unlink()
    other = [replace(row, sha256="f" * 64) if row.id == "validation-2" else row for row in dataset.rows]
    TrainedOn(dataset.identity, str(uri.parent)).keep(other)
    rebuilt = rebuild(champions.version(2), plan.batch_uris)
    assert not rebuilt.same
    assert f"but {rebuilt.recorded} was recorded" in rebuilt.sentence()


def test_what_is_damaged_or_gone_is_named(world, tmp_path, plan):
    champions, _ = world
    with pytest.raises(UserError, match="Nobody recorded what version 1 was trained on"):
        rebuild(champions.version(1), plan.batch_uris)
    part = next((tmp_path / "batches").glob("*/part-00000.parquet"))
    part.write_bytes(part.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError, match=r"damaged.*part-00000"):
        rebuild(champions.version(2), plan.batch_uris)
    (tmp_path / "night" / "catalog.parquet").unlink()
    with pytest.raises(UserError, match="run of version 2 is gone, or kept no catalog"):
        rebuild(champions.version(2), plan.batch_uris)


def test_shares_of_batches_add_up_to_their_rows(plan, batches):
    first, second = batches
    found = {share.batch: share for share in shares(plan, {first: "an older plan"})}
    assert found[first].trained == ("validation-2", "validation-4")
    assert found[first].superseded == ("validation-3",)
    assert found[second].trained == ("validation-3",)
    assert found[second].held_out == ("validation-5",)
    assert (found[first].added_by, found[second].added_by) == ("an older plan", plan.plan_key)
    assert found[first].annotators == ("p1", "p2")
    for name, share in found.items():
        assert len(share.trained + share.held_out + share.superseded) == read_batch(batches[name]).manifest["items"]


def test_a_version_says_where_it_comes_from(world, plan, dataset):
    champions, ledger = world
    found = of_version(champions.version(2), champions, ledger)
    assert (found.version, found.ancestors, found.plan_key) == (2, (1,), plan.plan_key)
    assert found.annotators == ("p1", "p2", "p3")
    assert found.facts["catalog digest (passport)"] == dataset.passport
    assert found.facts["code"] == plan.code
    assert {share.batch for share in found.batches} == set(plan.batches)
    people = of_version(champions.version(1), champions, ledger)
    assert (people.ancestors, people.plan_key, people.batches) == ((), "", ())


@pytest.mark.parametrize(
    ("video", "first", "second"),
    [
        ("validation-2", "trained on", "trained on with its edit"),
        ("validation-3", "trained on", "trained on with its edit"),
        ("validation-5", "trained on", "trained on; its edit held out"),
        ("validation-6", "trained on", "trained on"),
        ("train-0", "compared on", "compared on"),
        ("test-9", "not used", "not used"),
        ("elsewhere", "not listed", "not listed"),
    ],
)
def test_a_clip_says_which_versions_saw_it(world, batches, video, first, second):
    champions, _ = world
    one, two = of_clip(video, champions, batches)
    assert [(one.version, one.use), (two.version, two.use)] == [(1, first), (2, second)]
    expected = {"validation-2": 0, "validation-3": 1, "validation-5": 1}
    assert two.batch == (list(batches)[expected[video]] if video in expected else "")


def test_a_clip_is_not_answered_for_without_the_batches(world):
    champions, _ = world
    with pytest.raises(UserError, match="A batch cannot be found"):
        of_clip("validation-2", champions, {})


def test_asking_takes_no_torch():
    program = "import sys, pipeline.retrain.lineage; print(sorted({'torch', 'ray'} & sys.modules.keys()))"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.fixture
def desk(world, tmp_path, monkeypatch):
    """The job's, over the registry in memory."""
    champions, ledger = world
    opened = attempt.Desk(
        ledger=ledger,
        champions=champions,
        root=str(tmp_path),
        batches=str(tmp_path / "batches"),
        overrides=(),
        policy=read_policy(),
    )
    monkeypatch.setattr(attempt, "open_desk", lambda *places, **names: opened)
    return opened


def test_the_job_prints_a_version_and_writes_its_list(desk, plan, tmp_path, capsys):
    out = tmp_path / "list.txt"
    assert job.main(["--model", MODEL, "--version", "2", "--list", str(out)]) == 0
    shown = capsys.readouterr().out
    for word in (plan.plan_key, "after 1", *plan.batches, "p1, p2, p3", "as recorded at training time"):
        assert word in shown
    rows = [json.loads(line) for line in out.read_text().splitlines()]
    assert [TrainingRow(**row) for row in rows] == list(planned_list(plan))
    assert job.main(["--model", MODEL, "--version", "1"]) == 0
    assert "registered by people" in capsys.readouterr().out


def test_the_job_fails_when_the_list_is_another(desk, tmp_path, dataset, capsys):
    uri = tmp_path / "night" / "catalog.parquet"
    uri.unlink()
    TrainedOn(dataset.identity, str(uri.parent)).keep(dataset.rows[1:-2])
    assert job.main(["--model", MODEL, "--version", "2"]) == job.ANOTHER_LIST
    assert "was recorded at training time" in capsys.readouterr().out


def test_the_job_prints_who_saw_a_clip(desk, capsys):
    assert job.main(["--model", MODEL, "--clip", "validation-3"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first == "version 1: trained on, split validation"
    assert second.startswith("version 2: trained on with its edit, split validation, batch ")
