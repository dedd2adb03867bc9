import hashlib
import io
import os

import pyarrow.fs as pafs
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError

REMOTE = "mock:///bucket"
"""pyarrow's in-memory file system: a remote one for all that `storage` knows."""


@pytest.fixture(params=["local", "remote"])
def root(request, tmp_path):
    return str(tmp_path / "root") if request.param == "local" else f"{REMOTE}/{request.node.name.split('[')[0]}"


def test_what_is_published_is_there_whole(root):
    uri = storage.join(root, "deep", "file.bin")
    assert not storage.exists(uri)
    with storage.publish(uri) as file:
        file.write(b"first ")
        assert not storage.exists(uri)
        file.write(b"second")
    assert storage.read_bytes(uri) == b"first second"
    assert storage.info(uri).size == 12
    assert [entry.base_name for entry in storage.list_files(storage.join(root, "deep"))] == ["file.bin"]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(root):
    uri = storage.join(root, "file.bin")
    storage.publish_bytes(uri, b"old")

    def write():
        with storage.publish(uri) as file:
            file.write(b"half of the n")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        write()
    assert storage.read_bytes(uri) == b"old"
    assert [entry.base_name for entry in storage.entries(root)] == ["file.bin"]


def test_identical_bytes_are_not_written_again(tmp_path):
    uri = str(tmp_path / "file.bin")
    assert storage.publish_bytes(uri, b"same")
    before = os.stat(uri)
    assert not storage.publish_bytes(uri, b"same")
    assert (os.stat(uri).st_mtime_ns, os.stat(uri).st_ino) == (before.st_mtime_ns, before.st_ino)
    assert storage.publish_bytes(uri, b"other")
    assert os.stat(uri).st_ino != before.st_ino


def test_json_is_the_same_bytes_for_the_same_value(root):
    one, two = storage.join(root, "1.json"), storage.join(root, "2.json")
    storage.write_json(one, {"b": [1, 2.5, None], "a": "ä"})
    storage.write_json(two, {"a": "ä", "b": (1, 2.5, None)})
    assert storage.read_bytes(one) == storage.read_bytes(two)
    assert storage.read_json(one) == {"a": "ä", "b": [1, 2.5, None]}
    assert storage.sha256_json({"b": 1, "a": 2}) == storage.sha256_json({"a": 2, "b": 1})
    assert storage.sha256_json({"a": 1}) != storage.sha256_json({"a": 2})


def test_hashes_are_those_of_the_content(root):
    uri, data = storage.join(root, "x"), os.urandom(3_000_000)
    storage.publish_bytes(uri, data)
    expected = hashlib.sha256(data).hexdigest()
    assert storage.sha256_file(uri) == expected
    assert storage.sha256_of(io.BytesIO(data)) == expected


def test_names_of_videos_are_taken_literally(root):
    name = "50%20 #1 [a] (b);&!ä.avi"
    storage.publish_bytes(storage.join(root, name), b"x")
    assert [entry.base_name for entry in storage.list_files(root)] == [name]
    assert storage.read_bytes(storage.join(root, name)) == b"x"


def test_files_and_folders_are_told_apart_and_ordered(root):
    for name in ("b", "a", "folder/inside"):
        storage.publish_bytes(storage.join(root, name), b"")
    assert [entry.base_name for entry in storage.entries(root)] == ["a", "b", "folder"]
    assert [entry.base_name for entry in storage.list_files(root)] == ["a", "b"]
    assert storage.entries(storage.join(root, "nowhere")) == []
    uris = [storage.join(root, name) for name in ("folder", "a", "nowhere")]
    kinds = [pafs.FileType.Directory, pafs.FileType.File, pafs.FileType.NotFound]
    assert [found.type for found in storage.infos(uris)] == kinds


def test_only_what_old_killed_writers_left_is_swept(tmp_path):
    old, new, data = (tmp_path / name for name in (f"{storage.TEMPORARY}1-x", f"{storage.TEMPORARY}2-x", "data"))
    for path in (old, new, data):
        path.write_bytes(b"x")
    now_s = new.stat().st_mtime
    for path in (old, data):
        os.utime(path, (now_s - 100, now_s - 100))
    assert storage.sweep(str(tmp_path), older_than_s=50, now_s=now_s) == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([new.name, "data"])


def test_deleting_twice_is_fine(root):
    uri = storage.join(root, "x")
    storage.publish_bytes(uri, b"x")
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)


def test_paths_mean_the_same_everywhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert storage.absolute("data/x") == str(tmp_path / "data/x")
    assert storage.absolute(f"file://{tmp_path}/x") == f"{tmp_path}/x"
    assert storage.absolute("s3://bucket/key/") == "s3://bucket/key"


def test_a_query_stays_behind_the_path():
    uri = storage.join("s3://bucket/key?region=eu-west-1&endpoint_override=localhost:1", "a", "b")
    assert uri == "s3://bucket/key/a/b?region=eu-west-1&endpoint_override=localhost:1"
    filesystem, path = storage.resolve(uri)
    assert (filesystem.type_name, filesystem.region, path) == ("s3", "eu-west-1", "bucket/key/a/b")
    again, other = storage.resolve("s3://bucket/other?region=eu-west-1&endpoint_override=localhost:1")
    assert again is filesystem
    assert other == "bucket/other"


def test_an_unknown_scheme_is_a_users_error():
    with pytest.raises(UserError, match=r"ftp://host.*Allowed: a path, s3://"):
        storage.read_bytes("ftp://host/file")


def test_the_parent_keeps_a_query():
    assert storage.parent("/a/b/c/") == "/a/b"
    assert storage.parent("s3://bucket/a/b/?region=x") == "s3://bucket/a?region=x"
    assert storage.parent(storage.join("s3://bucket/a?region=x", "b")) == "s3://bucket/a?region=x"
