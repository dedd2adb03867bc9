import threading
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.records import PreparedVideo
from pipeline.data.store.shards import read_video
from pipeline.flow.catalog import NOT_A_NUMBER, TOO_SMALL, UNDECODABLE, FlowError
from pipeline.flow.config import FlowCodec, FlowConfig
from pipeline.flow.solver import Solver, ahead, read_grey, versions
from pipeline.flow.store import decode_stack
from pipeline.flow.tvl1 import TvL1Config

PNG = FlowCodec(format="png")


def places(prepared):
    return tuple(PreparedVideo(r.id, r.label, r.frames, r.shard, r.row) for r in prepared.rows)


def grey_by_opencv(prepared, video, size=None):
    """Frames as `cv2.imread` and cvtColor give them, and resized after that."""
    jpegs = read_video(prepared.root, video.shard, video.row).jpeg_V
    frames = [cv2.cvtColor(cv2.imdecode(np.frombuffer(j, np.uint8), 1), cv2.COLOR_BGR2GRAY) for j in jpegs]
    return np.stack([cv2.resize(frame, size) if size else frame for frame in frames])


@pytest.mark.parametrize("size", [None, (40, 32), (90, 70)])
def test_frames_turn_grey_and_then_change_size(prepared, size):
    for video in places(prepared):
        np.testing.assert_array_equal(
            read_grey(prepared.root, video, size), grey_by_opencv(prepared, video, size), strict=True
        )


def test_a_pair_leads_from_its_frame_to_the_next(prepared, quick):
    """Against OpenCV itself, pair by pair, and the published quantisation."""
    config = FlowConfig(tvl1=quick.tvl1, codec=PNG)
    solver = cv2.optflow.DualTVL1OpticalFlow.create(nscales=2, warps=1, innnerIterations=5, outerIterations=1)
    for video, flow in zip(
        places(prepared), Solver("opencv").flows(prepared.root, places(prepared), config, print), strict=True
    ):
        grey_VHW = grey_by_opencv(prepared, video)
        assert (flow.id, flow.pairs) == (video.id, len(grey_VHW) - 1)
        for pair in range(flow.pairs):
            expected_HW2 = solver.calc(grey_VHW[pair], grey_VHW[pair + 1], None).astype(float).clip(-20, 20)
            levels_HW2 = np.rint(255 * (expected_HW2 + 20) / 40).astype(np.uint8)
            np.testing.assert_array_equal(decode_stack(flow, pair, 1), levels_HW2)


def test_flow_points_where_the_picture_goes(prepared):
    config = FlowConfig(tvl1=TvL1Config(), codec=PNG)
    (flow,) = Solver("opencv").flows(prepared.root, places(prepared)[:1], config, lambda pairs: None)
    x_HW, y_HW = np.moveaxis(decode_stack(flow, 2, 1)[12:-12, 16:-16].astype(float) * 40 / 255 - 20, 2, 0)
    assert np.median(x_HW) == pytest.approx(2, abs=0.2)
    assert np.median(y_HW) == pytest.approx(1, abs=0.2)


def test_the_batch_and_the_threads_change_nothing(prepared, quick):
    def made(threads, batch):
        flows = Solver("opencv", threads, batch).flows(prepared.root, places(prepared), quick, ticks.append)
        return [[bytes(plane) for plane in (*flow.x_N, *flow.y_N)] for flow in flows]

    ticks = []
    reference = made(1, 1)
    assert ticks == [1] * sum(video.frames - 1 for video in places(prepared))
    ticks.clear()
    assert made(3, 4) == reference
    assert [ticks[0], ticks[1]] == [4, 1]  # five pairs


def test_one_bad_video_is_a_value_and_the_rest_goes_on(own_root, quick):
    from pipeline.data.store.prepared import PreparedDataset

    prepared = PreparedDataset.open(str(own_root))
    shard = own_root / prepared.rows[1].shard
    video = read_video(str(own_root), prepared.rows[1].shard, prepared.rows[1].row)
    data, jpeg = shard.read_bytes(), bytes(video.jpeg_V[2])
    (own_root / "copy").mkdir()
    (own_root / "copy" / shard.name).write_bytes(data.replace(jpeg, b"\0" * len(jpeg)))
    moved = [PreparedVideo(v.id, v.label, v.frames, f"copy/{shard.name}", v.row) for v in places(prepared)[:3]]
    first, second, third = Solver("opencv").flows(str(own_root), moved, quick, lambda pairs: None)
    assert (first.id, third.id) == (moved[0].id, moved[2].id)
    assert isinstance(second, FlowError)
    assert (second.reason, second.detail) == (
        UNDECODABLE,
        f"Frame 2 of video {moved[1].id} cannot be decoded from its shard",
    )


def test_a_row_that_is_another_video_is_damage(prepared):
    first, second, *_ = places(prepared)
    swapped = PreparedVideo(first.id, first.label, first.frames, first.shard, second.row)
    with pytest.raises(FlowError, match="is not the video that the catalog says"):
        read_grey(prepared.root, swapped, None)
    beyond = PreparedVideo(first.id, first.label, first.frames, first.shard, 99)
    with pytest.raises(FlowError, match=UNDECODABLE):
        read_grey(prepared.root, beyond, None)


def test_an_absent_shard_is_no_fault_of_the_video(prepared, quick):
    lost = PreparedVideo("v", 0, 5, "shards/none.arrow", 0)
    with pytest.raises(UserError, match=r"run jobs/prepare_data\.py again"):
        list(Solver("opencv").flows(prepared.root, [lost], quick, lambda pairs: None))


def test_frames_too_small_for_the_algorithm_are_named(prepared, monkeypatch):
    from pipeline.flow import solver

    monkeypatch.setattr(solver, "SMALLEST_SIDE", 50)
    with pytest.raises(FlowError, match=f"{TOO_SMALL}: 64 x 48 pixels, 50 a side are needed"):
        read_grey(prepared.root, places(prepared)[0], None)


def test_flow_that_diverged_is_a_reason(prepared):
    """A dual step far beyond what converges, whose products leave float32."""
    wild = FlowConfig(tvl1=TvL1Config(tau=1e38, theta=1e-3, lambda_=1e30, stop="fixed", scales=1, warps=3))
    (error,) = Solver("opencv").flows(prepared.root, places(prepared)[:1], wild, lambda pairs: None)
    assert isinstance(error, FlowError)
    assert (error.reason, error.detail) == (NOT_A_NUMBER, "the flow is not a number at some pixel")


def test_work_ahead_keeps_order_and_is_bounded():
    seen, gate = [], threading.Event()

    def note(item):
        gate.wait(5)
        return item * item

    def items():
        for item in range(6):
            seen.append(item)
            yield item

    with ThreadPoolExecutor(4) as pool:
        results = ahead(pool, note, items(), lead=2)
        gate.set()
        assert next(results) == 0
        assert seen == [0, 1, 2]
        assert list(results) == [1, 4, 9, 16, 25]


def test_versions_name_what_computes():
    assert versions("opencv").keys() == {"numpy", "opencv", "pyarrow"}
    assert versions("imported").keys() == {"numpy", "opencv", "pyarrow"}
    assert versions("opencv")["opencv"] == cv2.__version__
