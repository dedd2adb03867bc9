import os
import shutil

import cv2
import numpy as np
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.records import PreparedVideo
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.flow.catalog import BAD_PICTURE, MISSING, WRONG_COUNT, FlowError
from pipeline.flow.config import FlowCodec, FlowConfig
from pipeline.flow.dataset import FlowDataset
from pipeline.flow.extract import ExtractOptions, extract, in_process
from pipeline.flow.request import imported_config
from pipeline.flow.solver import Solver
from pipeline.flow.store import decode_plane
from pipeline.flow.tree import Tree, export, read_tree

IMPORT = ExtractOptions(backends=("imported",))


def place(row):
    return PreparedVideo(row.id, row.label, row.frames, row.shard, row.row)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def flow(prepared_root, quick, tmp_path_factory):
    root = str(tmp_path_factory.mktemp("flow") / "set")
    options = ExtractOptions(backends=("opencv",))
    extract(PreparedDataset.open(str(prepared_root)), root, quick, in_process(Solver("opencv")), options)
    return FlowDataset.open(root)


@pytest.fixture
def tree(prepared, flow, tmp_path):
    export(prepared, flow, str(tmp_path / "tree"))
    return tmp_path / "tree"


def test_the_tree_is_what_mmaction2_and_tsn_read(tree, prepared, flow):
    for row in prepared.rows:
        folder = tree / row.id  # class/video
        expected = [f"flow_{axis}_{n:05d}.jpg" for axis in "xy" for n in range(1, row.frames)]
        assert names(folder) == expected + [f"img_{n:05d}.jpg" for n in range(1, row.frames + 1)]
        frames, planes = read_video(prepared.root, row.shard, row.row), flow.read(row.id)
        for n, jpeg in enumerate(frames.jpeg_V, start=1):
            assert (folder / f"img_{n:05d}.jpg").read_bytes() == bytes(jpeg)
        for axis, stored in (("x", planes.x_N), ("y", planes.y_N)):
            for n, jpeg in enumerate(stored, start=1):
                assert (folder / f"flow_{axis}_{n:05d}.jpg").read_bytes() == bytes(jpeg)


def test_dense_flows_image_is_the_second_frame_of_the_pair(prepared, flow, tmp_path):
    export(prepared, flow, str(tmp_path / "tree"), image="second")
    for row in prepared.rows:
        folder, jpeg_V = tmp_path / "tree" / row.id, read_video(prepared.root, row.shard, row.row).jpeg_V
        images = [name for name in names(folder) if name.startswith("img")]
        assert images == [f"img_{n:05d}.jpg" for n in range(1, row.frames)]
        assert [(folder / name).read_bytes() for name in images] == [bytes(jpeg) for jpeg in jpeg_V[1:]]
        assert (folder / "flow_x_00001.jpg").read_bytes() == bytes(flow.read(row.id).x_N[0])


def test_round_trip_keeps_every_byte(tree, prepared, flow, tmp_path):
    report = extract(
        prepared, str(tmp_path / "set"), imported_config(20.0), in_process(None), IMPORT, tree=Tree(str(tree))
    )
    assert (report.counts.ok, report.backends) == (len(prepared.rows), ("imported",))
    back = FlowDataset.open(str(tmp_path / "set"))
    other = Tree(str(tmp_path), first=0)
    with pytest.raises(UserError, match=r"holds other flow\. Received: tree\.first 1 -> 0; tree\.root .*/tree -> "):
        extract(prepared, back.root, imported_config(20.0), in_process(None), IMPORT, tree=other)
    with pytest.raises(UserError, match="There is no tree to import"):
        extract(prepared, back.root, imported_config(20.0), in_process(None), IMPORT, tree=Tree(f"{tree}x"))
    for row, other in zip(back.rows, flow.rows, strict=True):
        assert (row.id, row.sha256, row.pairs, row.backend) == (other.id, other.sha256, other.pairs, "imported")
    assert back.passport != flow.passport
    assert back.manifest["settings"]["tvl1"] is None
    export(prepared, back, str(tmp_path / "again"))
    shutil.rmtree(tmp_path / "set")
    assert _contents(tmp_path / "again") == _contents(tree)


def _contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*.jpg")}


def test_denseflow_counts_from_zero(tree, prepared, flow):
    row = prepared.rows[0]
    for axis in "xy":
        for n in range(1, row.frames):
            os.rename(tree / row.id / f"flow_{axis}_{n:05d}.jpg", tree / row.id / f"flow_{axis}_{n - 1:05d}.jpg")
    found = read_tree(Tree(str(tree), first=0), place(row))
    assert [bytes(plane) for plane in found.x_N] == [bytes(plane) for plane in flow.read(row.id).x_N]
    wrong = read_tree(Tree(str(tree)), place(row))
    assert isinstance(wrong, FlowError)
    assert wrong.detail == "flow_x: 5 files from 0 to 4, wanted 5 from 1 to 5, for 6 frames"


def test_what_the_tree_lacks_is_quarantined_alone(tree, prepared, tmp_path):
    gone, short, hurt, odd, lame, *rest = (row.id for row in prepared.rows)
    shutil.rmtree(tree / gone)
    (tree / short / "flow_y_00002.jpg").unlink()
    (tree / hurt / "flow_x_00001.jpg").write_bytes(b"no picture")
    cv2.imwrite(str(tree / odd / "flow_y_00001.jpg"), np.zeros((8, 8), np.uint8))
    shutil.copy(tree / lame / "flow_x_00001.jpg", tree / lame / "flow_x_00099.jpg")
    report = extract(
        prepared, str(tmp_path / "set"), imported_config(20.0), in_process(None), IMPORT, tree=Tree(str(tree))
    )
    reasons = {row.id: row.reason for row in report.quarantined}
    wanted = {gone: MISSING, short: WRONG_COUNT, hurt: BAD_PICTURE, odd: BAD_PICTURE, lame: WRONG_COUNT}
    assert reasons == wanted
    assert list(FlowDataset.open(str(tmp_path / "set")).videos) == rest


def test_an_export_goes_on_where_it_was_killed_and_takes_nothing_for_its_own(tree, prepared, flow):
    row = prepared.rows[0]
    before = {path: path.stat().st_mtime_ns for path in tree.rglob("*.jpg") if row.id not in str(path)}
    shutil.rmtree(tree / row.id)
    told = []
    assert export(prepared, flow, str(tree), tell=told.append) == 1
    assert told[-1] == sum(video.pairs for video in flow.videos.values())
    assert {path: path.stat().st_mtime_ns for path in before} == before
    (tree / row.id / "flow_x_00001.jpg").write_bytes(b"something else")
    with pytest.raises(UserError, match=rf"holds other pictures .*Received: {tree}/{row.id}\."):
        export(prepared, flow, str(tree))
    with pytest.raises(UserError, match="holds other pictures"):
        export(prepared, flow, str(tree), image="second")


def test_lossless_planes_become_jpeg(prepared, quick, tmp_path):
    config = FlowConfig(tvl1=quick.tvl1, codec=FlowCodec(format="png"))
    options = ExtractOptions(backends=("opencv",))
    extract(prepared, str(tmp_path / "set"), config, in_process(Solver("opencv")), options)
    lossless = FlowDataset.open(str(tmp_path / "set"))
    export(prepared, lossless, str(tmp_path / "tree"))
    row = prepared.rows[0]
    stored_HW = decode_plane(lossless.read(row.id).x_N[0])
    expected = cv2.imencode(".jpg", stored_HW, [cv2.IMWRITE_JPEG_QUALITY, 95])[1].tobytes()
    assert (tmp_path / "tree" / row.id / "flow_x_00001.jpg").read_bytes() == expected


def test_places_that_are_none_are_refused(prepared, flow, make_prepared, tmp_path):
    with pytest.raises(UserError, match="A tree of pictures is local"):
        export(prepared, flow, "mock:///tree")
    other = PreparedDataset.open(str(make_prepared(tmp_path, [6, 4])))
    with pytest.raises(UserError, match="is not that of the frames"):
        export(other, flow, str(tmp_path / "tree"))
    for bad in ("/etc/v", "../v", "a/../../v"):
        with pytest.raises(UserError, match="An id is no place in a tree"):
            read_tree(Tree(str(tmp_path)), PreparedVideo(bad, 0, 3, "s", 0))


def test_a_tree_behind_a_uri_is_read_too(tree, prepared, flow):
    row = prepared.rows[0]
    for path in (tree / row.id).iterdir():
        storage.publish_bytes(f"mock:///rawframes/{row.id}/{path.name}", path.read_bytes())
    found = read_tree(Tree("mock:///rawframes"), place(row))
    assert [bytes(plane) for plane in found.y_N] == [bytes(plane) for plane in flow.read(row.id).y_N]
