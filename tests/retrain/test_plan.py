"""What is trained next follows from sealed batches, the champion and the ledger; idle is cheap; the key says it all."""

import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from mlflow import MlflowClient

from pipeline.annotate.batches import write_batch
from pipeline.core.config import from_dict, to_dict
from pipeline.core.errors import UserError
from pipeline.finetune.recipe import LR, FinetuneRecipe
from pipeline.retrain import plan as planning
from pipeline.retrain.champions import Champions
from pipeline.retrain.plan import Plan, code_version, find_plan, plan_key, sealed, sources_digest, survey

pytestmark = pytest.mark.filterwarnings("ignore:.*noload:DeprecationWarning")

MODEL, POLICY = "star-tiny", "standard-1@0123456789ab"
IDLE = """
import sys, time
from pipeline.retrain.champions import Champions
from pipeline.retrain.ledger import Ledger
from pipeline.retrain.plan import survey
found = survey(Ledger(sys.argv[1]), Champions("star-tiny", sys.argv[2]), sys.argv[3], [], "p")
print(found.plan, found.reason)
print(sorted({name.split(".")[0] for name in sys.modules} & {"torch", "ray", "cv2", "triton", "decord"}))
"""


@pytest.fixture
def batches(tmp_path, batch_row):
    """A function that seals a batch about one video and returns its id; and the folder of the batches."""
    root = str(tmp_path / "batches")

    def seal(video):
        return write_batch(root, [batch_row(video)], {"campaign": "c", "passport": "p", "sealed": 1.0})["batch"]

    seal.root = root
    return seal


@pytest.fixture(scope="module")
def registry(tmp_path_factory, tiny_checkpoint):
    """A registry whose champion is version 1, an untrained network."""
    uri = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    client = MlflowClient(tracking_uri=uri)
    client.create_registered_model(MODEL)
    for _ in range(3):  # any number: a plan of version 1 that is promoted is version 2
        client.create_model_version(MODEL, "file:///absent", tags={"star.checkpoint": tiny_checkpoint})
    Champions(MODEL, uri).adopt(1)
    return uri


@pytest.fixture
def champions(registry):
    """The registry with version 1 as champion, whatever another test has done."""
    MlflowClient(tracking_uri=registry).set_registered_model_alias(MODEL, "champion", "1")
    return Champions(MODEL, registry)


@pytest.fixture
def find(lite, champions, batches, monkeypatch):
    """A function that looks for the next plan; the code does not change while it is tested."""
    monkeypatch.setattr(planning, "code_version", lambda: "sources-00")
    return lambda overrides=(), policy=POLICY: survey(lite, champions, batches.root, overrides, policy)


def end(ledger, plan, passed=True, version=2, outcome=None):
    """Take a plan to its end."""
    lease = ledger.lease(MODEL, "a", 60)
    ledger.begin(plan, lease)
    ledger.decide(plan.plan_key, lease, {"passed": passed})
    if passed:
        with ledger.moving(plan.plan_key, lease, version):
            pass
    ledger.finish(plan.plan_key, lease, outcome or ("promoted" if passed else "refused"))
    ledger.release(lease)


def test_with_nothing_new_a_job_ends_before_it_touches_torch_or_ray(champions, batches, tmp_path):
    command = [sys.executable, "-c", IDLE, str(tmp_path / "ledger.db"), champions.uri, batches.root]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["None no batch is new to version 1", "[]"]


def test_a_folder_is_a_batch_once_its_manifest_is_there(batches, tmp_path):
    assert sealed(batches.root) == {}
    batch = batches("train-0")
    (tmp_path / "batches" / "being-written").mkdir()
    (tmp_path / "batches" / "notes.txt").write_text("not a batch")
    assert sealed(batches.root) == {batch: f"{batches.root}/{batch}"}


def test_a_new_batch_makes_a_plan_from_the_base(find, batches, tiny_checkpoint):
    batch = batches("train-0")
    found = find(["optim.lr=0.5"])
    plan = found.plan
    assert (plan.model, plan.champion, plan.champion_checkpoint, plan.base) == (
        MODEL,
        1,
        tiny_checkpoint,
        tiny_checkpoint,
    )
    assert plan.new_batches == plan.batches == (batch,)
    assert plan.batch_uris == {batch: f"{batches.root}/{batch}"}
    recipe = from_dict(FinetuneRecipe, plan.recipe)
    assert (recipe.edits.base, recipe.edits.batches) == (tiny_checkpoint, (plan.batch_uris[batch],))
    assert recipe.optim.lr == 0.5 != LR
    assert (plan.policy, plan.code) == (POLICY, "sources-00")
    assert found.batches == {batch: "new"}
    assert from_dict(Plan, json.loads(json.dumps(to_dict(plan)))) == plan
    assert find(["optim.lr=0.5"]) == found  # the same in every look


def test_the_key_changes_with_what_decides_the_result_alone():
    recipe = {"optim": {"lr": 0.1}, "compute": {"workers": 1}, "data": {"root": "/a"}, "edits": {"base": "b"}}
    values = {
        "model": "m",
        "champion": 1,
        "new_batches": ("x", "y"),
        "recipe": recipe,
        "code": "c",
        "policy": "p",
    }
    key = plan_key(**values)
    same = (
        {"new_batches": ("y", "x")},
        {"recipe": recipe | {"compute": {"workers": 8}}},
        {"recipe": recipe | {"data": {"root": "s3://elsewhere"}}},
        {"recipe": recipe | {"edits": {"base": "s3://elsewhere/b"}}},
    )
    other = (
        {"model": "n"},
        {"champion": 2},
        {"new_batches": ("x",)},
        {"recipe": recipe | {"optim": {"lr": 0.2}}},
        {"code": "d"},
        {"policy": "q"},
    )
    assert {plan_key(**(values | change)) for change in same} == {key}
    assert len({key, *(plan_key(**(values | change)) for change in other)}) == 1 + len(other)
    assert len(key) == 64


def test_after_a_promotion_only_what_is_new_counts_and_everything_trains(
    find, lite, champions, batches, tiny_checkpoint
):
    first = batches("train-0")
    end(lite, find().plan, version=2)
    champions.promote(2, 1)
    assert find().plan is None
    assert find().batches == {first: "consumed"}
    second = batches("train-1")
    plan = find().plan
    assert (plan.champion, plan.new_batches, plan.batches) == (2, (second,), tuple(sorted((first, second))))
    assert plan.base == tiny_checkpoint
    shutil.rmtree(f"{batches.root}/{first}")
    with pytest.raises(UserError, match="Batches of the champion are gone"):
        find()


def test_batches_that_people_had_trained_the_champion_on_count_as_used(find, champions, batches, tiny_checkpoint):
    first, second = batches("train-0"), batches("train-1")
    client = MlflowClient(tracking_uri=champions.uri)
    tags = {"star.checkpoint": "runs/tuned", "star.base": tiny_checkpoint, "star.batches": first}
    made = client.create_model_version(MODEL, "file:///absent", tags=tags)
    client.set_registered_model_alias(MODEL, "champion", made.version)
    plan = find().plan
    assert (plan.new_batches, set(plan.batches), plan.base) == ((second,), {first, second}, tiny_checkpoint)
    assert find().batches == {first: "consumed", second: "new"}


def test_a_refused_plan_waits_for_a_new_batch_or_another_policy(find, lite, batches, monkeypatch):
    first = batches("train-0")
    end(lite, find().plan, passed=False)
    found = find()
    assert (found.plan, found.batches) == (None, {first: "evaluated"})
    assert "tried these batches with the same policy and was refused" in found.reason
    monkeypatch.setattr(planning, "code_version", lambda: "sources-01")
    assert find(["optim.lr=0.5"]).plan is None  # other code, other recipe: the same batches still
    assert find(policy="standard-2@0").plan.new_batches == (first,)
    second = batches("train-1")
    assert set(find().plan.new_batches) == {first, second}


def test_a_rolled_back_plan_and_its_batches_stay_away_until_taken_back(find, lite, champions, batches):
    first = batches("train-0")
    plan = find().plan
    end(lite, plan, version=2)  # and the champion is version 1 again
    lite.rolled_back(MODEL, 2, plan.plan_key, "Ada", "worse")
    assert (find().plan, find().batches) == (None, {first: "left out"})
    second = batches("train-1")
    assert find().plan.batches == (second,)
    lite.take_back(MODEL, first, "Bo", "the camera was it")
    assert set(find().plan.batches) == {first, second}


def test_a_hold_stops_planning(find, lite, batches):
    batches("train-0")
    lite.hold("Ada", "holidays")
    assert find().plan is None
    assert "holidays, says Ada" in find().reason
    lite.release_hold("Ada", "back")
    assert find().plan is not None


def test_a_plan_in_work_goes_on_whatever_is_sealed_meanwhile(find, lite, batches, monkeypatch):
    first = batches("train-0")
    plan = find().plan
    lite.begin(plan, lite.lease(MODEL, "a", 60))
    second = batches("train-1")
    found = find()
    assert (found.plan, found.batches) == (plan, {first: "in work", second: "new"})
    monkeypatch.setattr(planning, "code_version", lambda: "sources-01")
    assert set(find().plan.new_batches) == {first, second}  # a new version: trained anew, on everything


def test_a_plan_in_work_without_one_of_its_batches_gives_way(find, lite, batches):
    first, second = batches("train-0"), batches("train-1")
    lite.begin(find().plan, lite.lease(MODEL, "a", 60))
    lite.leave_out(MODEL, first, "Ada", "random scores")
    assert find().plan.batches == (second,)


def test_a_decided_plan_is_finished_first_whatever_has_changed(find, lite, champions, batches):
    batches("train-0")
    plan, lease = find().plan, lite.lease(MODEL, "a", 60)
    lite.begin(plan, lease)
    lite.decide(plan.plan_key, lease, {"passed": True})
    batches("train-1")
    MlflowClient(tracking_uri=champions.uri).set_registered_model_alias(MODEL, "champion", "3")
    assert find(policy="standard-2@0").plan == plan
    lite.finish(plan.plan_key, lease, "superseded")
    assert find().plan.champion == 3


def test_a_changed_byte_stops_planning(find, batches):
    batch = batches("train-0")
    part = next(Path(batches.root, batch).glob("part-*.parquet"))
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.write_bytes(data)
    with pytest.raises(UserError, match="A sealed batch is damaged"):
        find()


def test_without_a_champion_the_way_to_one_is_named(lite, batches, registry):
    with pytest.raises(UserError, match="has no champion to start from"):
        find_plan(lite, Champions("another", registry), batches.root, [], POLICY)


def test_the_code_is_the_commit_of_a_clean_checkout_else_a_digest(monkeypatch):
    import pipeline.train.runs as runs

    known = runs.software()
    monkeypatch.setattr(runs, "software", lambda: known | {"commit": "abc", "dirty": "false"})
    assert code_version() == "abc"
    for dirty in ("true", runs.ABSENT):
        monkeypatch.setattr(runs, "software", lambda dirty=dirty: known | {"commit": "abc", "dirty": dirty})
        assert code_version() == f"sources-{sources_digest(runs.ROOT)}"


def test_the_digest_covers_every_source_and_nothing_else(tmp_path):
    for file in ("models/a.py", "pipeline/b/c.py", "pipeline/b/standard.json", "jobs/d.py"):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).write_text("x = 1\n")
    digests = [sources_digest(tmp_path)]
    (tmp_path / "README.md").write_text("words")
    (tmp_path / "jobs" / "d.pyc").write_text("compiled")
    assert sources_digest(tmp_path) == digests[0]
    (tmp_path / "jobs/d.py").write_text("x = 2\n")
    digests.append(sources_digest(tmp_path))
    (tmp_path / "jobs/d.py").rename(tmp_path / "jobs/e.py")
    digests.append(sources_digest(tmp_path))
    (tmp_path / "pipeline/b/standard.json").write_text("{}")
    digests.append(sources_digest(tmp_path))
    assert len(set(digests)) == 4


def test_a_plan_tells_its_version_what_it_was(plan_of):
    plan = replace(plan_of(["b"], champion=4, lineage=["a"]), base="runs/base")
    assert plan.tags() == {
        "star.parent": "4",
        "star.base": "runs/base",
        "star.batches": "a,b",
        "star.new_batches": "b",
        "star.code": "sources-00",
        "star.policy": plan.policy,
    }
