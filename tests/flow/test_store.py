import json

import cv2
import numpy as np
import pyarrow as pa
import pytest

from pipeline.core import storage
from pipeline.core.errors import UserError
from pipeline.flow.config import FlowCodec
from pipeline.flow.store import EncodedFlow, decode_plane, decode_stack, encode_plane, read_flow, write_shard

PNG = FlowCodec(format="png")


def smooth_planes(pairs, seed, height=24, width=40):
    """Levels of a smooth field, as flow is."""
    rng = np.random.default_rng(seed)
    return [cv2.resize(rng.integers(60, 200, (4, 5), dtype=np.uint8), (width, height)) for _ in range(2 * pairs)]


def flow_of(name, planes, codec=PNG):
    height, width = planes[0].shape
    stored = [memoryview(encode_plane(plane, codec)) for plane in planes]
    return EncodedFlow(name, height, width, tuple(stored[::2]), tuple(stored[1::2]))


@pytest.fixture
def planes():
    return smooth_planes(5, seed=0)


def test_a_stack_interleaves_the_components_from_the_first_pair_on(planes):
    stack_HWC = decode_stack(flow_of("v", planes), 1, 3)
    assert (stack_HWC.shape, stack_HWC.dtype) == ((24, 40, 6), np.uint8)
    np.testing.assert_array_equal(stack_HWC, np.stack(planes[2:8], axis=-1))


@pytest.mark.parametrize(("first", "pairs"), [(3, [3, 4, 4, 4]), (4, [4, 4, 4, 4]), (5, [4, 4, 4, 4]), (0, range(4))])
def test_beyond_the_last_pair_a_stack_repeats_it(planes, first, pairs):
    wanted = [planes[2 * pair + axis] for pair in pairs for axis in (0, 1)]
    np.testing.assert_array_equal(decode_stack(flow_of("v", planes), first, 4), np.stack(wanted, axis=-1))


@pytest.mark.parametrize(("first", "count"), [(-1, 2), (6, 2), (0, 0)])
def test_a_stack_outside_the_video_is_a_mistake(planes, first, count):
    with pytest.raises(IndexError, match=r"which has 5 pairs"):
        decode_stack(flow_of("v", planes), first, count)


def test_jpeg_is_what_opencv_writes_by_default_and_png_loses_nothing(planes):
    default = cv2.imencode(".jpg", planes[0])[1].tobytes()
    assert encode_plane(planes[0], FlowCodec()) == default
    far = np.abs(decode_plane(default).astype(int) - planes[0])
    assert 0 < far.max() <= 3
    np.testing.assert_array_equal(decode_plane(encode_plane(planes[0], PNG)), planes[0])


def test_shards_give_back_what_went_in_and_say_how_it_was_made(tmp_path):
    flows = [flow_of(f"class/v{n}", smooth_planes(n + 1, n), FlowCodec()) for n in range(3)]
    with storage.publish(str(tmp_path / "shards" / "0.arrow")) as file:
        assert write_shard(file, flows, json.dumps({"bound": 20})) == 3
    for row, flow in enumerate(flows):
        read = read_flow(str(tmp_path), "shards/0.arrow", row)
        assert (read.id, read.pairs, read.height, read.width) == (flow.id, row + 1, 24, 40)
        assert [bytes(data) for data in (*read.x_N, *read.y_N)] == [bytes(data) for data in (*flow.x_N, *flow.y_N)]
    with pa.ipc.open_file(str(tmp_path / "shards" / "0.arrow")) as reader:
        assert json.loads(reader.schema.metadata[b"flow"]) == {"bound": 20}
        assert [reader.get_batch(n).column("pairs")[0].as_py() for n in range(3)] == [1, 2, 3]
    with pytest.raises(IndexError):
        read_flow(str(tmp_path), "shards/0.arrow", 3)


def test_an_absent_shard_names_the_job_that_makes_it(tmp_path):
    with pytest.raises(UserError, match=r"run jobs/extract_flow\.py again"):
        read_flow(str(tmp_path), "shards/none.arrow", 0)


@pytest.mark.parametrize("bad", [b"", b"no picture", encode_plane(np.zeros((9, 9), np.uint8), PNG)])
def test_a_damaged_plane_says_which_and_what_to_do(planes, bad):
    flow = flow_of("v", planes)
    hurt = EncodedFlow("v", 24, 40, flow.x_N, (*flow.y_N[:3], memoryview(bad), flow.y_N[4]))
    assert decode_stack(hurt, 0, 3).shape == (24, 40, 6)
    with pytest.raises(UserError, match=r"flow_y of pair 3 of video v .* --verify"):
        decode_stack(hurt, 0, 4)
