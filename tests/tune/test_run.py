"""Sweeps on a real cluster: the control and some trials of a fine-tuning that takes two steps."""

import json
import shutil
import tempfile
from dataclasses import replace

import pytest
import ray
from mlflow import MlflowClient

from pipeline.core.errors import UserError
from pipeline.core.ray_session import connect
from pipeline.data.store.catalog import Passport
from pipeline.train.recipe import Recipe
from pipeline.tune.kinds import edits_target, recipe_target
from pipeline.tune.ledger import Ledger
from pipeline.tune.run import Request, check, identity_of, sweep
from pipeline.tune.space import parse
from pipeline.tune.summary import summarise
from pipeline.tune.watched import WatchedFeed

pytestmark = [
    pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy is deprecated"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning:ray"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),  # Ray leaves its subprocesses to the interpreter's end
]


@pytest.fixture(scope="module")
def cluster():
    """A cluster made by the jobs' own `connect`: trials need the dashboard's process to free what they held."""
    folder = tempfile.mkdtemp(prefix="star-", dir="/tmp")  # short: sockets lie in it
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAY_TMPDIR", folder)
        patch.setenv("RAY_AUTH_MODE", "disabled")
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.1")
        patch.delenv("RAY_ADDRESS", raising=False)
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        ray.shutdown()
        connect(4.0)
        yield
        ray.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def request_for(tiny_checkpoint, batch, overrides, tmp_path):
    """A function from changes to the request of a sweep of the tiny network's fine-tuning, with one trial."""

    def build(*more, search=("edits.gamma_t=log(0.1,100)",), **changes):
        target = edits_target(tiny_checkpoint, str(tmp_path), "best", [batch], [*overrides, *more])
        space = parse(search, target.recipe)
        return Request(**({"name": "sweep", "target": target, "space": space, "trials": 1} | changes))

    return build


def children(swept):
    client = MlflowClient(swept.tracking_uri)
    experiment = client.get_experiment_by_name("tune").experiment_id
    return client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{swept.mlflow_run_id}'")


@pytest.mark.ray
def test_a_sweep_trains_the_control_and_its_trials_once(cluster, request_for, tmp_path):
    request, said = request_for(), []
    with pytest.raises(
        UserError, match=r"50 x 0\.01 \(processes of trials\) \+ 50 x 0\.5 \(training processes\) = 25\.5"
    ):
        sweep(request_for(at_once=50), str(tmp_path), said.append)
    assert Ledger(str(tmp_path), "sweep").trials() == []

    swept = sweep(request, str(tmp_path), said.append)
    control, trial = swept.trials
    assert [one.state for one in swept.trials] == ["finished"] * 2
    assert (control.values, list(trial.values)) == ({}, ["edits.gamma_t"])
    for one in swept.trials:
        assert [rung.epoch for rung in one.rungs] == [1.0, 2.0]
        metrics = one.rungs[-1].metrics
        assert metrics["edited_videos"] + metrics["other_videos"] == 7
        assert metrics["heldout_videos"] == 1
    # People's scores move attention, and the control has none of them.
    assert control.rungs[-1].metrics["heldout_mse"] != trial.rungs[-1].metrics["heldout_mse"]
    runs = children(swept)
    assert {run.info.run_id for run in runs} == {control.mlflow_run_id, trial.mlflow_run_id}
    assert {run.info.status for run in runs} == {"FINISHED"}
    assert {float(run.data.params["edits.gamma_t"]) for run in runs} == {0.0, trial.values["edits.gamma_t"]}

    again = sweep(request, str(tmp_path), said.append)
    assert again == swept
    assert len(children(swept)) == 2
    assert said[-1] == "going on with sweep sweep: 2 trials done"
    summary = summarise(again, str(tmp_path / "out"))
    assert (tmp_path / "out" / "parallel.png").read_bytes().startswith(b"\x89PNG")
    artifacts = MlflowClient(swept.tracking_uri).list_artifacts(swept.mlflow_run_id, "sweep")
    assert {file.path for file in artifacts} >= {"sweep/table.txt", "sweep/fields.png", "sweep/winner.sh"}
    assert summary.winner.number in (0, 1)


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_more_trials_continue_a_sweep_and_a_bad_one_stops_no_other(cluster, request_for, tmp_path):
    lr = ("optim.lr=choice(0.01,1e38)",)
    fit = ("train.nonfinite_limit=0", "train.epochs=3")
    first = sweep(request_for(*fit, search=lr, searcher="grid", trials=2), str(tmp_path), [].append)
    assert [trial.state for trial in first.trials] == ["finished", "finished", "failed"]
    assert "not finite" in first.trials[2].why
    assert "failed" in summarise(first, str(tmp_path / "out")).text

    more = sweep(request_for(name="more", trials=1), str(tmp_path), [].append)
    grown = sweep(request_for(name="more", trials=2, at_once=2), str(tmp_path), [].append)
    assert grown.trials[:2] == more.trials
    assert grown.trials[2].state == "finished"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_asha_stops_trials_and_leaves_nothing_running(cluster, request_for, tmp_path):
    request = request_for("train.epochs=4", scheduler="asha", trials=4, reduction=2.0, at_once=2)
    swept = sweep(request, str(tmp_path), [].append)
    states = [trial.state for trial in swept.trials]
    assert set(states) <= {"finished", "stopped"}
    assert states[0] == "finished"
    for trial in swept.trials:
        assert len(trial.rungs) == 4 if trial.state == "finished" else len(trial.rungs) < 4
    assert {run.info.status for run in children(swept)} <= {"FINISHED", "KILLED"}
    assert summarise(swept, str(tmp_path / "out")).winner.state == "finished"


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_a_population_trains_in_step_and_takes_over_weights(cluster, request_for, tmp_path):
    request = request_for("train.epochs=2", scheduler="pbt", trials=2, grace=1)
    swept = sweep(request, str(tmp_path), [].append)
    assert [trial.state for trial in swept.trials] == ["finished"] * 3
    taken = [trial for trial in swept.trials if trial.start]
    assert len(taken) == 1
    assert [rung.epoch for rung in taken[0].rungs] == [1.0, 2.0]
    assert sweep(request, str(tmp_path), [].append).trials == swept.trials


def test_data_may_move_and_may_not_be_others(request_for, tiny_root, tmp_path):
    ledger = Ledger(str(tmp_path), "sweep")

    def begun(root):
        request = request_for(f"data.root={root}")
        return ledger.open(identity_of(request, WatchedFeed(request.target.run_of(0, {})).passport))

    _, existed = begun(tiny_root)
    assert not existed
    moved = tmp_path / "moved"
    shutil.copytree(tiny_root, moved)
    _, existed = begun(str(moved))
    assert existed
    manifest = json.loads((moved / "manifest.json").read_text())
    manifest["passport"], manifest["passport_parts"]["sha256"] = "0" * 64, "0" * 64
    (moved / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UserError, match=r"data passport \w+ -> 000000000000 \(sha256 differs\)"):
        begun(str(moved))


def test_another_base_is_another_sweep(request_for, tmp_path):
    """One trained anew in the folder of the first."""
    ledger, data = Ledger(str(tmp_path), "sweep"), Passport("p", {})
    request = request_for()
    ledger.open(identity_of(request, data))
    other = replace(request, target=replace(request.target, inputs={"base": "0"}))
    with pytest.raises(UserError, match=r"target\.base '\w+' -> '0'"):
        ledger.open(identity_of(other, data))


@pytest.mark.parametrize(
    ("changes", "told_of"),
    [({}, ""), ({"searcher": "grid"}, ""), ({"searcher": "optuna"}, "attention"), ({"scheduler": "asha"}, "attention")],
)
def test_attention_is_part_of_a_sweep_where_someone_goes_by_it(request_for, changes, told_of):
    request = request_for(**changes)
    assert identity_of(request, Passport("p", {})).told_of == told_of
    training = replace(request, target=recipe_target("stabn_demo", Recipe(name="stabn_demo"), "runs", []))
    assert identity_of(training, Passport("p", {})).told_of == ""


@pytest.mark.parametrize(
    ("scheduler", "changes", "words"),
    [
        ("asha", {"grace": 2}, r"schedule\.grace 1 -> 2"),
        ("asha", {"reduction": 4.0}, r"schedule\.reduction 3\.0 -> 4\.0"),
        ("asha", {"margin": 2.0}, r"schedule\.margin 1\.0 -> 2\.0"),
        ("pbt", {"grace": 2}, r"schedule\.grace 1 -> 2"),
        ("pbt", {"margin": 2.0}, r"schedule\.margin 1\.0 -> 2\.0"),
        ("pbt", {"reduction": 4.0}, ""),
        ("fifo", {"grace": 2, "reduction": 4.0, "margin": 2.0}, ""),
        ("asha", {"at_once": 2, "trials": 9}, ""),
    ],
)
def test_what_stops_trials_is_compared_and_what_only_ranks_them_is_free(
    request_for, tmp_path, scheduler, changes, words
):
    ledger, data = Ledger(str(tmp_path), "sweep"), Passport("p", {})
    request = request_for(scheduler=scheduler)
    ledger.open(identity_of(request, data))
    again = identity_of(replace(request, **changes), data)
    if not words:
        assert ledger.open(again)[1]
        return
    with pytest.raises(UserError, match=words):
        ledger.open(again)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scheduler": "asha", "grace": 1, "more": ("train.eval_every=2",)}, "validations on the way"),
        ({"scheduler": "pbt", "searcher": "grid", "trials": 4}, "changes values as it goes"),
        ({"scheduler": "pbt", "trials": 1}, "two trials or more"),
        ({"searcher": "grid", "trials": 5}, "--trials 5. Allowed: 4"),
        ({"trials": 0}, "sweep.trials is out of range"),
        ({"at_once": 0}, "sweep.at_once is out of range"),
        ({"reduction": 1.0}, "above 1"),
    ],
)
def test_what_makes_no_sweep_is_refused_before_anything_starts(request_for, changes, words):
    request = request_for(*changes.pop("more", ()), **changes)
    with pytest.raises(UserError) as error:
        check(request, request.target.run_of(0, {}))
    assert words in str(error.value)
