"""A stage of a system as the target of a sweep: its run is the one that the procedure would train."""

import shlex
import shutil
from dataclasses import replace

import pytest

from jobs.cli import guarded
from jobs.train_two_stream import main as train_two_stream
from jobs.train_two_stream import parse as parse_training
from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.store.catalog import Passport
from pipeline.tune.kinds import stage_target
from pipeline.tune.ledger import Ledger
from pipeline.tune.run import Request, identity_of
from pipeline.tune.space import assignments, parse
from pipeline.two_stream.recipe import StreamInit
from pipeline.two_stream.stages import Places, stages, stream_recipe

VALUES = {"temporal.optim.lr": 0.5, "temporal.optim.schedule": "cosine"}


def test_a_later_round_is_swept_on_what_the_earlier_one_left(tiny, paired, tmp_path):
    places = Places(str(tmp_path), "sys")
    with pytest.raises(UserError, match=r"--run sys --until r1-temporal"):
        stage_target("two_stream_demo", tiny, str(tmp_path), "sys", "r2-temporal", [])
    storage.write_json(places.record("r1-temporal"), {"checkpoint": "/c", "digest": "d"})
    target = stage_target("two_stream_demo", tiny, str(tmp_path), "sys", "r2-temporal", [])
    parse(["temporal.optim.lr=log(1e-4,1)", "temporal.optim.schedule=choice(multistep,cosine)"], target.recipe)
    stage = next(one for one in stages(tiny) if one.name == "r2-temporal")
    control = target.run_of(0, {})
    assert control == stream_recipe(tiny, stage, places, flow_root=paired.flow.root, checkpoint="/c")
    changed = target.run_of(1, VALUES)
    assert (changed.optim.lr, changed.optim.schedule) == (0.5, "cosine")
    assert changed.init == StreamInit(source="checkpoint", path="/c")
    assert changed.maps_root == places.folder("r1-spatial-maps")
    assert target.inputs == {"system": "sys", "stage": "r2-temporal", "base": "d"}


def test_a_sweep_is_of_one_stage_of_one_system(tiny, tmp_path):
    ledger, data = Ledger(str(tmp_path), "s"), Passport("p", {})

    def begun(system, stage, recipe=tiny):
        target = stage_target("two_stream_demo", recipe, str(tmp_path), system, stage, [])
        space = parse(["temporal.optim.lr=log(1e-4,1)"], recipe)
        return ledger.open(identity_of(Request(name="s", target=target, space=space), data))

    begun("sys", "r1-temporal")
    with pytest.raises(UserError, match=r"target\.stage 'r1-temporal' -> 'r1-spatial'"):
        begun("sys", "r1-spatial")
    with pytest.raises(UserError, match=r"target\.system 'sys' -> 'other'"):
        begun("other", "r1-temporal")
    moved = tmp_path / "flow"
    shutil.copytree(tiny.flow_root, moved)
    assert begun("sys", "r1-temporal", replace(tiny, flow_root=str(moved)))[1]


def test_the_winning_command_trains_the_whole_system_with_its_values(tiny, tmp_path, capsys):
    target = stage_target("two_stream_demo", tiny, str(tmp_path), "sys", "r1-temporal", ["train.seed=3"])
    words = shlex.split(shlex.join([*target.command, *assignments(VALUES)]))
    assert words[0] == "jobs/train_two_stream.py"
    assert guarded(train_two_stream, [*words[1:], "--describe"]) == 0
    printed = capsys.readouterr().out
    for line in ("temporal.optim.lr = 0.5", "temporal.optim.schedule = cosine", "train.seed = 3"):
        assert line in printed
    assert parse_training(words[1:]).run == "sys-r1-temporal-winner"  # not the system that the stage is of
    assert "It trains a whole system" in target.command_note


def test_a_stage_that_is_none_is_refused_with_those_there_are(tiny, tmp_path):
    with pytest.raises(UserError, match=r"Received: r9-spatial\. Allowed: r1-spatial"):
        stage_target("two_stream_demo", tiny, str(tmp_path), "sys", "r9-spatial", [])
