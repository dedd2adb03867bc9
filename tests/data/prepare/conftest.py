"""A folder of ten small videos, the data set prepared from it, and what tests ask of both."""

import shutil

import pytest

from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.records import Listing, VideoRecord

CONFIG = PrepareConfig(shard_videos=4)


@pytest.fixture(scope="session")
def originals(tmp_path_factory, make_video):
    """Ten videos of three containers; the eighth is no video."""
    folder = tmp_path_factory.mktemp("originals")
    for number in range(10):
        make_video(folder / _name_of(number), frames=5 + number, seed=number)
    (folder / _name_of(7)).write_text("this is no video")
    return folder


def _name_of(number):
    return f"{number}.{('webm', 'avi', 'mp4')[number % 3]}"


def _list_videos(source, numbers=range(10)):
    records = tuple(VideoRecord(str(n), _name_of(n), n % 3, ("train" if n % 2 else "test",)) for n in numbers)
    return Listing("folder", str(source), ("a", "b", "c"), records)


@pytest.fixture(scope="session")
def name_of():
    """The file of a video by its number."""
    return _name_of


@pytest.fixture(scope="session")
def list_videos():
    """A listing of the videos of a folder, all or some."""
    return _list_videos


@pytest.fixture(scope="session")
def finished(tmp_path_factory, originals):
    """A prepared data set that tests copy before they change it."""
    root = tmp_path_factory.mktemp("finished") / "root"
    report = prepare(_list_videos(originals), str(root), CONFIG, in_process)
    return root, report


@pytest.fixture
def world(tmp_path, originals, finished):
    """A source and a prepared data set of it, free to change."""
    shutil.copytree(originals, tmp_path / "source")
    shutil.copytree(finished[0], tmp_path / "root")
    return tmp_path / "source", tmp_path / "root"


def _state(root):
    files = sorted(path for path in root.rglob("*") if path.is_file())
    return {str(p.relative_to(root)): (p.read_bytes(), p.stat().st_ino, p.stat().st_mtime_ns) for p in files}


@pytest.fixture(scope="session")
def state():
    """Path to (content, inode, mtime) of every file."""
    return _state


@pytest.fixture(scope="session")
def contents():
    """Path to content of what readers see; sidecars hold dates of the source."""

    def read(root):
        readers = {path: values[0] for path, values in _state(root).items()}
        return {path: data for path, data in readers.items() if not path.endswith(".json") or "manifest" in path}

    return read


@pytest.fixture(scope="session")
def refuse():
    """An engine that is given no work."""

    def engine(tasks, tell):
        raise AssertionError(f"there should be no work, but shards {[task.index for task in tasks]} are to do")

    return engine


@pytest.fixture(scope="session")
def counting():
    """The engine of one process, which also notes the shards that it was given."""

    def noting(done):
        def engine(tasks, tell):
            done.extend(task.index for task in tasks)
            in_process(tasks, tell)

        return engine

    return noting
