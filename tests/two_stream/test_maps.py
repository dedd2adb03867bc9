"""The store of maps: what is written is what is read, and nothing else passes for it."""

import json

import numpy as np
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.two_stream.maps import MapDataset, MapRow, VideoMaps, opened, publish, row_values, write_shard

FACTS = {"stream": "spatial", "shape": [2, 3]}


def videos(seed=0):
    rng = np.random.default_rng(seed)
    return [VideoMaps(f"v{n}", tuple(range(0, 3 * n, 3)), rng.random((n, 2, 3)).astype(np.float16)) for n in (1, 4)]


def written(root, made, shard="shards/00000-a.arrow", facts=FACTS):
    with storage.publish(storage.join(root, shard)) as file:
        rows = write_shard(file, made)
    return publish(root, [MapRow(**values) for values in row_values(rows, shard)], facts)


def test_maps_come_back_as_they_were(tmp_path):
    root = str(tmp_path)
    passport = written(root, videos())
    found = opened(root, passport)
    assert (found.stream, found.shape, found.manifest["counts"]) == ("spatial", (2, 3), {"videos": 2, "maps": 5})
    for video in videos():
        back = found.of(video.id)
        assert back.places == video.places
        assert back.map_Phw.dtype == np.float16
        np.testing.assert_array_equal(back.map_Phw, video.map_Phw)
    with pytest.raises(UserError, match="A video has no maps"):
        found.of("other")


def test_the_passport_is_that_of_facts_and_content(tmp_path):
    first = written(str(tmp_path / "a"), videos())
    assert written(str(tmp_path / "b"), videos()[::-1], "shards/00007-b.arrow") == first, "not of their layout"
    assert written(str(tmp_path / "c"), videos(1)) != first
    assert written(str(tmp_path / "d"), videos(), facts=FACTS | {"stride": 2}) != first


def test_what_is_not_whole_is_refused(tmp_path):
    root = str(tmp_path)
    with pytest.raises(UserError, match="There are no maps"):
        MapDataset.open(root)
    passport = written(root, videos())
    manifest = tmp_path / "manifest.json"
    text = manifest.read_text()
    manifest.write_text(json.dumps(json.loads(text) | {"format": 9}))
    with pytest.raises(UserError, match="are not whole"):
        MapDataset.open(root)
    manifest.write_text(text)
    written(str(tmp_path / "other"), videos(1))
    (tmp_path / "catalog.parquet").write_bytes((tmp_path / "other" / "catalog.parquet").read_bytes())
    with pytest.raises(UserError, match="are not whole"):
        MapDataset.open(root)
    with pytest.raises(UserError, match="have changed"):
        opened(str(tmp_path / "other"), passport)
