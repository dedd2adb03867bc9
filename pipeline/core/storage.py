"""Files behind a path or URI: reading, atomic publishing, hashing. Local, s3://, gs:// and whatever pyarrow opens.

Everything a run leaves behind goes through `publish`: a reader sees the complete new file or the old one, never a part.
Locally that is a temporary file beside the target and a rename; an object store's put has the property by itself.
"""

import contextlib
import functools
import hashlib
import json
import os
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
import pyarrow.fs as pafs

from pipeline.core.errors import UserError, problem

TEMPORARY = ".tmp-"
"""Marks a file that is being written; what a killed writer leaves behind carries it too."""
_CHUNK = 1 << 20
_WITHOUT_FOLDERS = ("s3", "gcs")
"""A key needs no folder there, and making one takes a request and a permission."""


def resolve(uri: str) -> tuple[Any, str]:
    """Return the pyarrow file system and the path inside it; a local path may be relative.

    A remote URI is taken literally, without percent-decoding, since names of videos hold `#` and `%`; an optional query
    at its end (s3://bucket/key?region=eu-west-1) configures the file system.

    Raises:
        UserError: a URI whose scheme or address pyarrow cannot open.
    """
    if is_local(uri):
        return pafs.LocalFileSystem(), local_path(uri)
    scheme, _, rest = uri.partition("://")
    path, _, query = rest.partition("?")
    authority, _, inner = path.partition("/")
    filesystem, prefix = _connect(scheme, authority, query)
    return filesystem, prefix + inner.rstrip("/")


@functools.cache
def _connect(scheme: str, authority: str, query: str) -> tuple[Any, str]:
    """Open a remote file system once a process; also returns what it puts before a URI's path (a bucket's name)."""
    uri = f"{scheme}://{authority}/x" + (f"?{query}" if query else "")
    try:
        filesystem, path = pafs.FileSystem.from_uri(uri)
    except (pa.ArrowException, OSError, ValueError) as error:
        allowed = "a path, s3://bucket/key, gs://bucket/key, or another URI that pyarrow opens"
        fix = "check the scheme, the address and the credentials in the environment"
        got = f"{scheme}://{authority}"
        raise UserError(problem(f"A URI cannot be opened ({error})", got=got, allowed=allowed, fix=fix)) from error
    return filesystem, path.removesuffix("x")


def is_local(uri: str) -> bool:
    """True for a path or a file:// URI."""
    return "://" not in uri or uri.startswith("file://")


def local_path(uri: str) -> str:
    """Return the absolute path behind a path or file:// URI."""
    return os.path.abspath(uri.removeprefix("file://"))


def absolute(uri: str) -> str:
    """Return `uri` so that it means the same in every working directory (Ray workers have their own)."""
    return local_path(uri) if is_local(uri) else uri.rstrip("/")


def join(root: str, *parts: str) -> str:
    """Append relative `parts` to the path of a path or URI."""
    if is_local(root):
        return os.path.join(root, *parts)
    path, mark, query = root.partition("?")
    return "/".join([path.rstrip("/"), *parts]) + mark + query


def parent(uri: str) -> str:
    """Return the folder that a path or URI lies in."""
    if is_local(uri):
        return os.path.dirname(uri.rstrip("/"))
    path, mark, query = uri.partition("?")
    return path.rstrip("/").rpartition("/")[0] + mark + query


def info(uri: str) -> Any:
    """Return pyarrow's FileInfo (type, size, mtime_ns) of one file or folder; its type says when there is none."""
    return infos([uri])[0]


def infos(uris: Sequence[str]) -> list[Any]:
    """Return the FileInfo of every URI, in order; all of them lie in one file system."""
    if not uris:
        return []
    filesystem, _ = resolve(uris[0])
    found: list[Any] = filesystem.get_file_info([resolve(uri)[1] for uri in uris])
    return found


def exists(uri: str) -> bool:
    """True when a file or folder is there."""
    return bool(info(uri).type != pafs.FileType.NotFound)


def entries(uri: str) -> list[Any]:
    """Return the FileInfo of the files and folders directly in a folder, by name; an absent folder is empty."""
    filesystem, path = resolve(uri)
    found = filesystem.get_file_info(pafs.FileSelector(path, allow_not_found=True))
    return sorted(found, key=lambda entry: str(entry.base_name))


def list_files(uri: str) -> list[Any]:
    """Return the FileInfo of the files alone, by name."""
    return [entry for entry in entries(uri) if entry.type == pafs.FileType.File]


def read_bytes(uri: str) -> bytes:
    """Return a whole file.

    Raises:
        FileNotFoundError: there is no such file.
    """
    filesystem, path = resolve(uri)
    with filesystem.open_input_stream(path, compression=None) as stream:
        data: bytes = stream.read()
    return data


@contextlib.contextmanager
def publish(uri: str) -> Iterator[IO[bytes]]:
    """Yield a binary file to fill; it appears at `uri`, whole, when the block ends without an exception."""
    filesystem, path = resolve(uri)
    folder, name = os.path.split(path)
    if filesystem.type_name not in _WITHOUT_FOLDERS:
        filesystem.create_dir(folder, recursive=True)
    if is_local(uri):
        temporary = os.path.join(folder, f"{TEMPORARY}{uuid.uuid4().hex}-{name}")
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            _sync_folder(folder)
        finally:
            Path(temporary).unlink(missing_ok=True)
    else:
        with tempfile.TemporaryFile() as file:
            yield file
            file.seek(0)
            with filesystem.open_output_stream(path, compression=None) as stream:
                shutil.copyfileobj(file, stream, 8 * _CHUNK)


def _sync_folder(folder: str) -> None:
    """Make a rename survive a power failure."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def publish_bytes(uri: str, data: bytes) -> bool:
    """Publish `data`, or leave an identical file untouched; returns whether anything was written."""
    if exists(uri) and read_bytes(uri) == data:
        return False
    with publish(uri) as file:
        file.write(data)
    return True


def write_json(uri: str, value: Any) -> bool:
    """Publish `value` as sorted, indented JSON: the same value is the same bytes. Returns whether it was written."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False)
    return publish_bytes(uri, (text + "\n").encode())


def read_json(uri: str) -> Any:
    """Return the value of a JSON file.

    Raises:
        FileNotFoundError: there is no such file.
        json.JSONDecodeError: it is not JSON.
    """
    return json.loads(read_bytes(uri))


def delete(uri: str) -> None:
    """Delete a file; an absent one is fine."""
    filesystem, path = resolve(uri)
    if filesystem.get_file_info(path).type == pafs.FileType.File:
        filesystem.delete_file(path)


def sweep(uri: str, *, older_than_s: float, now_s: float | None = None) -> int:
    """Delete what killed writers left in a folder; a file younger than `older_than_s` may still be in use and stays."""
    limit_s = (time.time() if now_s is None else now_s) - older_than_s
    stale = [f for f in list_files(uri) if f.base_name.startswith(TEMPORARY) and f.mtime_ns / 1e9 < limit_s]
    for entry in stale:
        delete(join(uri, entry.base_name))
    return len(stale)


def sha256_of(file: IO[bytes]) -> str:
    """Return the hexadecimal SHA-256 of the rest of an open file."""
    digest = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_file(uri: str) -> str:
    """Return the hexadecimal SHA-256 of a file's content."""
    filesystem, path = resolve(uri)
    with filesystem.open_input_stream(path, compression=None) as stream:
        return sha256_of(stream)


def sha256_json(value: Any) -> str:
    """Return the hexadecimal SHA-256 of a JSON value, whatever the order of its keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
