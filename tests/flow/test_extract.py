"""From frames to a flow set: counts, bytes, kills, damage (extract.py, shard_task.py, summary.py)."""

import json
import os
import shutil
import signal
from dataclasses import replace

import pyarrow as pa
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.data.prepare.shard_task import Tally
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import read_video
from pipeline.flow import catalog
from pipeline.flow.catalog import UNDECODABLE
from pipeline.flow.config import FlowCodec, FlowConfig
from pipeline.flow.dataset import FlowDataset, differences
from pipeline.flow.extract import ExtractOptions, extract, in_process
from pipeline.flow.shard_task import DAMAGED_SHARD, make_shard
from pipeline.flow.solver import Solver
from pipeline.flow.store import read_flow
from pipeline.flow.summary import summary, too_many

OPENCV = ExtractOptions(backends=("opencv",))


def run(frames_root, root, config, engine=None, options=OPENCV, **more):
    engine = engine or in_process(Solver("opencv"))
    return extract(PreparedDataset.open(str(frames_root)), str(root), config, engine, options, **more)


def refuse(tasks, tell):
    raise AssertionError(f"there should be no work, but shards {[task.number for task in tasks]} are to do")


def noting(done):
    def engine(tasks, tell):
        done.extend(task.number for task in tasks)
        in_process(Solver("opencv"))(tasks, tell)

    return engine


def contents(root):
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


def damage(frames_root, video_id, frame=1):
    """Overwrite one stored JPEG with zeros; returns a function that mends it."""
    row = next(row for row in PreparedDataset.open(str(frames_root)).rows if row.id == video_id)
    jpeg = bytes(read_video(str(frames_root), row.shard, row.row).jpeg_V[frame])
    place = (frames_root / row.shard).read_bytes().index(jpeg)

    def write(data):
        # In place, since this process keeps the file mapped.
        with (frames_root / row.shard).open("r+b") as file:
            file.seek(place)
            file.write(data)

    write(b"\0" * len(jpeg))
    return lambda: write(jpeg)


@pytest.fixture(scope="module")
def finished(prepared_root, quick, tmp_path_factory):
    root = tmp_path_factory.mktemp("finished") / "flow"
    return root, run(prepared_root, root, quick)


@pytest.fixture
def own_flow(finished, tmp_path):
    return shutil.copytree(finished[0], tmp_path / "flow")


def test_every_readable_video_has_flow_cut_as_the_frames_are(finished, prepared, quick):
    root, report = finished
    assert (report.counts.videos, report.counts.ok, report.counts.quarantined) == (7, 7, 0)
    assert report.counts.pairs == sum(row.frames - 1 for row in prepared.rows)
    assert (report.shards_done, report.shards_kept, report.backends, report.published) == (3, 0, ("opencv",), True)
    flow = FlowDataset.open(str(root))
    assert (flow.passport, flow.bound) == (report.passport, 20.0)
    assert list(flow.videos) == [row.id for row in prepared.rows]
    for row in prepared.rows:
        video = flow.videos[row.id]
        assert (video.pairs, video.height, video.width, video.row) == (row.frames - 1, 48, 64, row.row)
        assert video.shard.partition("-")[0] == row.shard.partition("-")[0]
        assert read_flow(flow.root, video.shard, video.row).id == flow.read(row.id).id == row.id
    with pa.ipc.open_file(str(root / flow.videos[prepared.rows[0].id].shard)) as reader:
        facts = json.loads(reader.schema.metadata[b"flow"])
    assert (facts["bound"], facts["backend"], facts["codec"]["format"]) == (20.0, "opencv", "jpeg")
    assert facts["tvl1"]["warps"] == quick.tvl1.warps
    (made_with,) = flow.manifest["made_with"]
    assert made_with.keys() == {"numpy", "opencv", "pyarrow"}


def test_a_second_run_touches_nothing(finished, prepared_root, quick):
    root, first = finished
    before = {path: path.stat().st_mtime_ns for path in root.rglob("*")}
    report = run(prepared_root, root, quick, refuse)
    assert {path: path.stat().st_mtime_ns for path in root.rglob("*")} == before
    assert (report.published, report.shards_done, report.shards_kept) == (False, 0, 3)
    assert (report.counts, report.passport) == (first.counts, first.passport)
    assert summary(report, str(root)).startswith("Nothing to do: everything is up to date.\n7 readable videos = 7 with")


def test_the_same_bytes_wherever_it_lies(finished, own_root, quick, tmp_path):
    run(own_root, tmp_path / "other", quick)
    assert contents(tmp_path / "other") == contents(finished[0])


def test_a_run_that_dies_anywhere_is_finished_by_the_next(finished, prepared_root, quick, tmp_path):
    """A child process is killed after so many pairs, in every shard; a manifest appears only at the end."""
    root, total = tmp_path / "flow", finished[1].counts.pairs
    for survive in range(0, total, 5):
        if (child := os.fork()) == 0:
            seen = 0

            def tell(done, quarantined, limit=survive):
                nonlocal seen
                seen = done
                if seen > limit:
                    os.kill(os.getpid(), signal.SIGKILL)

            try:
                run(prepared_root, root, quick, tell_of=lambda pairs: tell)
            finally:
                os._exit(1)
        _, status = os.waitpid(child, 0)
        assert os.WIFSIGNALED(status) or survive > 8
        if os.WIFSIGNALED(status):
            assert not (root / "manifest.json").exists()
    run(prepared_root, root, quick)
    assert {p: d for p, d in contents(root).items() if storage.TEMPORARY not in p} == contents(finished[0])


def test_a_broken_video_costs_only_itself(finished, own_root, quick, tmp_path):
    good = FlowDataset.open(str(finished[0]))
    bad = list(good.videos)[1]
    mend = damage(own_root, bad)
    root = tmp_path / "flow"
    report = run(own_root, root, quick)
    assert (report.counts.videos, report.counts.ok, report.counts.quarantined) == (7, 6, 1)
    assert report.counts.by_reason == {UNDECODABLE: 1}
    (row,) = report.quarantined
    assert (row.id, row.reason, row.detail) == (
        bad,
        UNDECODABLE,
        f"Frame 1 of video {bad} cannot be decoded from its shard",
    )
    flow = FlowDataset.open(str(root))
    assert [video for video in good.videos if video not in flow.videos] == [bad]
    for video_id in flow.videos:
        mine, theirs = flow.read(video_id), good.read(video_id)
        assert [*map(bytes, mine.x_N), *map(bytes, mine.y_N)] == [*map(bytes, theirs.x_N), *map(bytes, theirs.y_N)]
    with pytest.raises(UserError, match=rf"There is no flow of a video \({UNDECODABLE}: Frame 1"):
        flow.read(bad)
    # Its neighbours could be read, but from a shard that is not what the manifest says: said, not hidden.
    assert {row.id for row in report.noted} == {row.id for row in flow.rows if row.note == DAMAGED_SHARD}
    assert len(report.noted) == 3
    text = summary(report, str(root))
    assert "7 readable videos = 6 with flow + 1 quarantined" in text
    assert f"    {bad}: Frame 1 of video" in text
    assert "WARNING: 3 videos carry a note" in text
    assert "accept them with --allow-quarantine 1." in too_many(report, 0, str(root))

    assert run(own_root, root, quick, refuse).published is False
    mend()
    done = []
    healed = run(own_root, root, quick, noting(done), ExtractOptions(backends=("opencv",), retry=True))
    assert (len(done), healed.counts.ok, healed.noted) == (1, 7, ())
    assert contents(root) == contents(finished[0])


def test_verifying_redoes_what_is_not_what_it_was(own_flow, finished, prepared_root, own_root, quick):
    options = ExtractOptions(backends=("opencv",), verify=True)
    assert run(prepared_root, own_flow, quick, options=options).published is False
    shard = own_flow / next(iter(FlowDataset.open(str(own_flow)).videos.values())).shard
    data = bytearray(shard.read_bytes())
    data[len(data) // 2] ^= 255
    shard.write_bytes(data)
    assert run(prepared_root, own_flow, quick, refuse).published is False  # its size is right
    run(prepared_root, own_flow, quick, options=options)
    assert contents(own_flow) == contents(finished[0])
    # Frames that were damaged while flow was made, and are whole again.
    mend = damage(own_root, PreparedDataset.open(str(own_root)).rows[4].id)
    root = own_root.parent / "again"
    assert run(own_root, root, quick).counts.quarantined == 1
    mend()
    assert run(own_root, root, quick, options=options).counts.quarantined == 0
    assert contents(root) == contents(finished[0])


def test_a_lost_or_cut_shard_is_made_again(own_flow, finished, prepared_root, quick):
    first, second, _ = sorted(own_flow.glob("shards/*.arrow"))
    first.unlink()
    second.write_bytes(second.read_bytes()[:-1])
    (own_flow / "shards" / "00002.json").write_text("{")
    done = []
    run(prepared_root, own_flow, quick, noting(done))
    assert done == [0, 1, 2]
    assert contents(own_flow) == contents(finished[0])


def test_new_videos_cost_their_shards_alone(tmp_path, make_prepared, quick):
    frames = make_prepared(tmp_path, [3, 3, 3, 3], shard_videos=2)
    run(frames, tmp_path / "flow", quick)
    before = contents(tmp_path / "flow")
    make_prepared(tmp_path, [3, 3, 3, 3, 4], shard_videos=2)
    with pytest.raises(UserError, match=r"is not that of the frames in .*ids differs"):
        FlowDataset.open(str(tmp_path / "flow")).check_belongs(PreparedDataset.open(str(frames)))
    done = []
    report = run(frames, tmp_path / "flow", quick, noting(done))
    # Sorted by class, so the new video came into the middle of the list; its shard is the third all the same.
    assert (done, report.shards_kept, report.counts.ok) == ([2], 2, 5)
    after = contents(tmp_path / "flow")
    assert before.keys() < after.keys()
    assert {path for path in before if after[path] != before[path]} == {"catalog.parquet", "manifest.json"}
    FlowDataset.open(str(tmp_path / "flow")).check_belongs(PreparedDataset.open(str(frames)))


def test_flow_of_other_settings_is_not_replaced(own_flow, finished, prepared_root, quick):
    with pytest.raises(UserError, match=r"holds other flow\. Received: bound 20\.0 -> 15\.0\. .*another --out"):
        run(prepared_root, own_flow, FlowConfig(tvl1=quick.tvl1, bound=15.0), refuse)
    other = FlowConfig(tvl1=replace(quick.tvl1, warps=2))
    with pytest.raises(UserError, match=r"Received: tvl1\.warps 1 -> 2\."):
        run(prepared_root, own_flow, other, refuse)
    assert contents(own_flow) == contents(finished[0])


def test_settings_may_change_until_there_is_flow(prepared_root, quick, tmp_path):
    def fail(tasks, tell):
        raise UserError("nothing came of it")

    with pytest.raises(UserError, match="nothing came"):
        run(prepared_root, tmp_path / "flow", FlowConfig(tvl1=quick.tvl1, bound=15.0), fail)
    run(prepared_root, tmp_path / "flow", quick)
    assert FlowDataset.open(str(tmp_path / "flow")).bound == 20.0


def test_backends_mix_only_when_told_to(own_flow, prepared_root, quick):
    numba = ExtractOptions(backends=("numba",))
    with pytest.raises(UserError, match=r"Received: this run: numba; in .*: opencv\."):
        run(prepared_root, own_flow, quick, refuse, numba)
    (own_flow / "shards" / "00001.json").unlink()

    def labelled(tasks, tell):
        """OpenCV's results under another name, so that the bookkeeping is seen without a second backend."""
        for task in tasks:
            make_shard(task, Solver("opencv"), lambda *_: None)
            sidecar = storage.read_json(task.sidecar)
            sidecar["backend"] = "numba"
            sidecar["rows"] = [{**row, "backend": "numba"} for row in sidecar["rows"]]
            storage.write_json(task.sidecar, sidecar)

    before = FlowDataset.open(str(own_flow))
    report = run(prepared_root, own_flow, quick, labelled, ExtractOptions(backends=("numba",), mix=True))
    assert (report.backends, report.shards_done, report.shards_kept) == (("numba", "opencv"), 1, 2)
    after = FlowDataset.open(str(own_flow))
    assert [shard["backend"] for shard in after.manifest["shards"]] == ["opencv", "numba", "opencv"]
    assert after.passport != before.passport
    assert differences(before, after) == ("backends differs: ['opencv'] -> ['numba', 'opencv']",)
    with pytest.raises(UserError, match="--mix-backends"):
        run(prepared_root, own_flow, quick, refuse)


def test_absent_frame_shards_stop_the_run_before_it_begins(own_root, quick, tmp_path):
    lost = PreparedDataset.open(str(own_root)).rows[0].shard
    (own_root / lost).unlink()
    with pytest.raises(UserError, match=rf"1 of 3 frame shards are not in .*Received: {lost}\..*prepare_data"):
        run(own_root, tmp_path / "flow", quick, refuse)
    assert not (tmp_path / "flow").exists()


def test_lossless_flow_and_another_size(prepared_root, tmp_path, quick):
    config = FlowConfig(tvl1=quick.tvl1, size=(40, 32), codec=FlowCodec(format="png"))
    run(prepared_root, tmp_path / "flow", config)
    flow = FlowDataset.open(str(tmp_path / "flow"))
    video = next(iter(flow.videos))
    assert (flow.videos[video].height, flow.videos[video].width) == (32, 40)
    assert bytes(flow.read(video).x_N[0][:8]) == b"\x89PNG\r\n\x1a\n"


def test_progress_counts_pairs_and_a_task_done_twice_once(prepared_root, finished, tmp_path, quick):
    told = []
    run(
        prepared_root,
        tmp_path / "flow",
        quick,
        tell_of=lambda pairs: (told.append(pairs), lambda *t: told.append(t))[1],
    )
    total = finished[1].counts.pairs
    assert told[0] == total
    assert told[-1] == (total, 0)
    assert sorted(told[1:]) == told[1:]
    tally = Tally()
    for _ in range(2):
        tally.add(3, 7, 1)
    assert tally.totals() == (7, 1)


def test_frames_are_read_from_where_the_manifest_says(finished, prepared):
    video = prepared.rows[0]
    assert read_video(prepared.root, video.shard, video.row).id == video.id
    rows = catalog.from_parquet((finished[0] / "catalog.parquet").read_bytes())
    assert [row.id for row in rows] == [row.id for row in prepared.rows]
