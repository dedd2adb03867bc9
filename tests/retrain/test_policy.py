"""A gate policy is read whole or not at all, and is named by what it says."""

import copy
import dataclasses
import json
import tomllib
from pathlib import Path

import pytest

from pipeline.core.config import to_dict
from pipeline.core.errors import UserError
from pipeline.retrain.policy import BUNDLED, Policy, from_values, read_policy

ROOT = Path(__file__).parents[2]


@pytest.fixture
def values():
    return to_dict(read_policy())


def written(tmp_path, values, name="own-1"):
    path = tmp_path / f"{name}.json"
    path.write_text(json.dumps(values))
    return str(path)


def test_bundled_policies_are_read_and_installed():
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())
    globs = config["tool"]["setuptools"]["package-data"]["pipeline.retrain"]
    package = ROOT / "pipeline" / "retrain"
    assert {path for glob in globs for path in package.glob(glob)} >= set(BUNDLED.iterdir())
    for path in BUNDLED.iterdir():
        assert read_policy(path.stem).name == path.stem


def test_the_id_is_the_content(tmp_path, values):
    standard = read_policy()
    name, _, digest = standard.id.partition("@")
    assert name == "standard-1"
    assert len(digest) == 12
    assert int(digest, 16) >= 0
    reordered = {key: values[key] for key in reversed(values)}
    assert from_values(reordered).id == standard.id
    values["overall"]["alpha"] = 0.002
    changed = from_values(values)
    assert changed.id != standard.id
    assert changed.name == standard.name
    spelled = read_policy(written(tmp_path, {**to_dict(standard), "name": "own-1"}))
    assert spelled.id.startswith("own-1@")
    assert dataclasses.replace(spelled, name="standard-1") == standard


def test_a_whole_number_is_as_good_as_a_fraction(values):
    values["overall"]["margin_points"], values["edited"]["margin_points"] = 1, 0
    assert from_values(values).overall.margin_points == 1.0


def leaves(values, path=()):
    for key, value in values.items():
        yield (*path, key)
        if isinstance(value, dict):
            yield from leaves(value, (*path, key))


@pytest.mark.parametrize("path", list(leaves(to_dict(read_policy()))), ids=".".join)
def test_no_limit_may_be_missing(values, path):
    node = values
    for key in path[:-1]:
        node = node[key]
    del node[path[-1]]
    with pytest.raises(UserError, match=r"lacks limits.*nothing for " + r"\.".join(path)):
        from_values(values)


@pytest.mark.parametrize(
    ("section", "key", "value", "words"),
    [
        ("overall", "margin", 0.3, "unknown"),
        ("overall", "alpha", 0.9, "0 to 0.5"),
        ("overall", "alpha", -0.1, "makes no sense"),
        ("overall", "alpha", "0.1", "wrong type"),
        ("overall", "alpha", True, "wrong type"),
        ("overall", "alpha", None, "wrong type"),
        ("overall", "alpha", float("nan"), "no number"),
        ("overall", "margin_points", float("inf"), "no number"),
        ("overall", "missing", "pass", "'refuse', 'not judged'"),
        ("edited_better", "gain_points", 200, "edited_better.gain_points=200"),
        ("classes", "floor_points", -1, "classes.floor_points=-1"),
        ("credit", "alpha", 0, "credit.alpha=0"),
        ("credit", "crash_alpha", 0.7, "credit.crash_alpha=0.7"),
        ("attention", "heldout_videos", 0, "attention.heldout_videos=0"),
        ("attention", "heldout_videos", 1.5, "wrong type"),
        ("batch", "kappa", 1.2, "batch.kappa=1.2"),
        ("batch", "level", 0.3, "batch.level=0.3"),
        ("integrity", "latency_ratio", 0.9, "integrity.latency_ratio=0.9"),
    ],
)
def test_what_makes_no_sense_is_refused(values, section, key, value, words):
    values[section][key] = value
    with pytest.raises(UserError) as raised:
        from_values(values)
    assert words in str(raised.value)
    assert key in str(raised.value)


def test_files_that_are_no_policy_are_refused(tmp_path, values):
    with pytest.raises(UserError, match=r"no such gate policy.*standard-9.*standard-1"):
        read_policy("standard-9")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(UserError, match="not JSON"):
        read_policy(str(tmp_path / "broken.json"))
    with pytest.raises(UserError, match=r"JSON object.*list"):
        read_policy(written(tmp_path, []))
    with pytest.raises(UserError, match=r"another name than its file.*standard-1.*own-1"):
        read_policy(written(tmp_path, values))
    section = copy.deepcopy(values) | {"overall": 3}
    with pytest.raises(UserError, match="overall"):
        from_values(section)


def test_every_limit_is_documented():
    source = (ROOT / "pipeline" / "retrain" / "policy.py").read_text()
    sections = {"edited_better", "classes", "credit", "attention", "batch", "integrity"}  # named by their classes
    for path in leaves(to_dict(read_policy())):
        after = source.split(f"    {path[-1]}: ", 1)[1].splitlines()[1]
        assert after.startswith('    """') or path[-1] in sections, path
    assert Policy.__doc__
