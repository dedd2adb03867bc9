"""Paths on the command line: in a submitted job, whose folder Ray deletes, a relative one is refused at once."""

import argparse
import importlib
from pathlib import Path

import pytest

from jobs.cli import address, given_data, guarded, path, placed, trained
from jobs.train_stabn import main
from pipeline.core.errors import UserError

ROOT = Path(__file__).parents[2]
NEVER = ("demo", "reproduce", "tune_")
"""Begin the names of jobs that submit others themselves, and of the sweeps, which place their paths one by one."""
JOBS = sorted(file.stem for file in (ROOT / "jobs").glob("*.py") if file.read_text().startswith("#!"))
JOBS = [job for job in JOBS if not job.startswith(NEVER)]
PLACES = {"URI", "ROOT", "FILE", "PATH", "DIR", "VIDEO"}
"""Words of a metavar that mean a path."""
RELATIVE, ABSOLUTE = "some/where", "/some/where"


@pytest.fixture
def scratch(tmp_path):
    """A folder such as a submitted job runs in."""
    folder = tmp_path / "runtime_resources" / "working_dir_files" / "_ray_pkg_1"
    folder.mkdir(parents=True)
    return folder


class CaughtError(Exception):
    """Carries a job's parser out of it."""


def job_of(name, monkeypatch):
    """Return a job's `parse`, its parser, and the options that take paths."""
    module = importlib.import_module(f"jobs.{name}")

    def caught(parser, *_):
        raise CaughtError(parser)

    with monkeypatch.context() as patched:
        for method in ("parse_args", "parse_intermixed_args"):
            patched.setattr(argparse.ArgumentParser, method, caught)
        with pytest.raises(CaughtError) as found:
            module.parse([])
    (parser,) = found.value.args
    return module.parse, parser, [action for action in parser._actions if action.type in (path, trained, address)]


def typed(parser, asked, values):
    """Return a command line: what is required and all of `values`, of each group of alternatives one, `asked` if in it.

    Args:
        parser: the job's.
        asked: the option that a test is about.
        values: texts by option.
    """
    words, given = {False: [], True: []}, []
    alternatives = {
        id(a): group._group_actions for group in parser._mutually_exclusive_groups for a in group._group_actions
    }
    for action in [asked, *(a for a in parser._actions if a is not asked)]:
        optional = bool(action.option_strings)
        wanted = action in values or (action.required if optional else action.nargs in (None, "+", "?"))
        one_of = next((g for g in parser._mutually_exclusive_groups if action in g._group_actions), None)
        wanted = wanted or bool(one_of and one_of.required)
        if not wanted or any(other in given for other in alternatives.get(id(action), ())):
            continue
        given.append(action)
        value = values.get(action) or next(iter(action.choices or ["1"]))
        words[optional] += [*action.option_strings[-1:], *([] if action.nargs == 0 else [value])]
    return [*words[True], "--", *words[False]] if words[False] else words[True]


@pytest.mark.parametrize("name", JOBS)
def test_a_submitted_job_takes_no_relative_path(name, monkeypatch, scratch, tmp_path, capsys):
    parse, parser, options = job_of(name, monkeypatch)
    assert options, "every job has one"
    absolute = dict.fromkeys(options, ABSOLUTE)
    for option in options:
        whole, label = typed(parser, option, absolute), "/".join(option.option_strings) or option.metavar
        refusal = f"argument {label}: A relative path means nothing in a submitted job"
        relative = typed(parser, option, absolute | {option: RELATIVE})
        assert whole.count(ABSOLUTE) == relative.count(ABSOLUTE) + 1
        without = typed(parser, option, {one: ABSOLUTE for one in options if one is not option})
        monkeypatch.chdir(scratch)
        parse(whole)
        refused = [relative, without] if option.default and not option.required else [relative]
        for arguments in refused:
            with pytest.raises(SystemExit) as ended:
                parse(arguments)
            assert ended.value.code == 2
            assert refusal in capsys.readouterr().err
        monkeypatch.chdir(tmp_path)
        taken = getattr(parse(relative), option.dest)
        wanted = str(tmp_path / RELATIVE) if option.type is path else RELATIVE
        assert taken in (wanted, [wanted])
    assert list(scratch.iterdir()) == []


@pytest.mark.parametrize("name", JOBS)
def test_every_option_that_is_a_path_is_read_as_one(name, monkeypatch):
    _, parser, options = job_of(name, monkeypatch)
    # A policy's file is read at once, also from the copy.
    said = [a for a in parser._actions if PLACES & set(str(a.metavar).split("|")) and a.dest != "policy"]
    assert [a.dest for a in said if a not in options] == []
    assert [a.dest for a in parser._actions if a.type is Path] == []


def test_names_servers_and_absolute_files_are_no_relative_paths(scratch, monkeypatch):
    monkeypatch.chdir(scratch)
    for text in ("stabn_demo", "0123abcd", "models:/star@champion", "/runs/x", "s3://bucket/runs/x"):
        assert trained(text) == text
    for text in ("", "/x/a.db", "sqlite:////x/a.db", "postgresql://star@db/star", "http://mlflow:5000"):
        assert address(text) == text
    assert (path(""), path("/x/"), path("s3://bucket/x/")) == ("", "/x", "s3://bucket/x")
    for kind, text in ((trained, "runs/x"), (address, "a.db"), (address, "sqlite:///a.db"), (path, "file://a")):
        with pytest.raises(argparse.ArgumentTypeError, match="means nothing in a submitted job"):
            kind(text)


def test_the_data_of_a_recipe_is_no_relative_path_either(scratch, monkeypatch, capsys):
    monkeypatch.chdir(scratch)
    assert guarded(main, ["debug", "data.root=prepared", "--storage", "/nowhere"]) == 2
    assert "A relative data.root means nothing in a submitted job" in capsys.readouterr().err
    assert placed("--data", "/d/x") == given_data("/d/x") == "/d/x"
    with pytest.raises(UserError, match="No data set was given"):
        given_data("")
