"""A manifest vouches for its catalog; whatever is wrong is said in the words of its kind."""

import hashlib

import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.store.published import CATALOG, MANIFEST, Kind, read_published

KIND = Kind(
    noun="herbarium", job="jobs/press.py", format=3, again="press it again", where="a drawer", fix="find the key"
)


@pytest.fixture
def root(tmp_path):
    (tmp_path / CATALOG).write_bytes(b"leaves")
    publish(tmp_path)
    return tmp_path


def publish(root, **changes):
    value = {"format": 3, "catalog_sha256": hashlib.sha256(b"leaves").hexdigest()}
    storage.write_json(str(root / MANIFEST), value | changes)


def test_manifest_and_catalog_that_belong_together_are_returned(root):
    manifest, data = read_published(str(root), KIND)
    assert (manifest["format"], data) == (3, b"leaves")


@pytest.mark.parametrize("lost", [MANIFEST, CATALOG])
def test_without_one_of_them_there_is_none(root, lost):
    (root / lost).unlink()
    with pytest.raises(UserError, match=r"There is no herbarium\. Received: .*Allowed: a drawer\. .*find the key"):
        read_published(str(root), KIND)


def test_what_is_wrong_is_said_with_its_remedy(root):
    publish(root, format=2)
    with pytest.raises(UserError, match=r"Received: format 2\. Allowed: format 3\. .*press it again with this version"):
        read_published(str(root), KIND)
    publish(root)
    (root / CATALOG).write_bytes(b"other leaves")
    with pytest.raises(UserError, match=r"do not belong together.*run jobs/press\.py again; it was stopped"):
        read_published(str(root), KIND)
    (root / MANIFEST).write_text("{half of a manif")
    with pytest.raises(UserError, match="The manifest of a herbarium is damaged"):
        read_published(str(root), KIND)
