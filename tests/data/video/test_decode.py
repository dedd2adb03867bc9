from dataclasses import replace

import av
import cv2
import decord
import numpy as np
import pytest

from pipeline.data.synth.encode import write_video
from pipeline.data.video import decode
from pipeline.data.video.decode import DecodeError, decode_video

REAL = (
    "ssv2/smth-smth-1.webm",
    "ucf101/ApplyEyeMakeup/mmaction2_test.avi",
    "kinetics/arm_wrestling/mmaction2_demo.mp4",
    "kinetics/cleaning_pool/mmaction2_part_0.mp4",
    "decoder_cases/unordered.mov",
    "decoder_cases/h264_10bits.mp4",
    "decoder_cases/h265_video.mp4",
    "decoder_cases/av1_video.mkv",
    "decoder_cases/gulpio_test.webm",
    "decoder_cases/video_0.mov",
)


@pytest.mark.parametrize("suffix", ["webm", "mp4", "avi"])
def test_every_frame_is_pyavs(tmp_path, make_video, oracle, suffix):
    path = make_video(tmp_path / f"v.{suffix}", frames=37)
    video = decode_video(str(path))
    assert np.array_equal(video.frames_VHWC, oracle(path))
    assert (video.fps, video.height, video.width) == (12.0, 48, 64)
    assert video.decoder == ("pyav" if suffix == "avi" else "decord")


@pytest.mark.parametrize("suffix", ["webm", "mp4", "avi"])
def test_frames_by_index_are_pyavs_in_any_order(tmp_path, make_video, oracle, suffix):
    path = make_video(tmp_path / f"v.{suffix}", frames=37)
    expected_VHWC = oracle(path)
    rng = np.random.default_rng(1)
    wishes = [[36], [0], [36, 0], [5, 5, 5], list(range(36, -1, -1)), [35, 36, 36]]
    wishes += [rng.integers(0, 37, 9).tolist() for _ in range(10)]
    for wish in wishes:
        assert np.array_equal(decode_video(str(path), wish).frames_VHWC, expected_VHWC[wish]), wish


def test_an_avi_with_b_frames_is_exact_every_time(tmp_path, moving_pattern, oracle):
    path = tmp_path / "b.avi"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=25, options={"bf": "2", "g": "12"})
        stream.height, stream.width, stream.pix_fmt = 48, 64, "yuv420p"
        for frame_HWC in moving_pattern(40):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(stream.encode())
    with av.open(str(path)) as container:
        assert container.streams.video[0].codec_context.has_b_frames
    expected_VHWC = oracle(path)
    for wish in [[len(expected_VHWC) - 1], [11, 12, 13], list(range(len(expected_VHWC)))] * 10:
        assert np.array_equal(decode_video(str(path), wish).frames_VHWC, expected_VHWC[wish])


@pytest.mark.parametrize("name", REAL)
def test_real_clips_are_exact(clips, oracle, name):
    expected_VHWC = oracle(clips / name)
    assert np.array_equal(decode_video(str(clips / name)).frames_VHWC, expected_VHWC)
    count = len(expected_VHWC)
    for wish in ([count - 1], [count // 2, 0, count - 1], np.linspace(0, count - 1, 8).astype(int).tolist()):
        assert np.array_equal(decode_video(str(clips / name), wish).frames_VHWC, expected_VHWC[wish])


@pytest.mark.parametrize(("angle", "turns"), [(0, 0), (90, 3), (180, 2), (270, 1)])
def test_the_rotation_tag_is_applied_by_both_decoders(clips, oracle, angle, turns):
    path = str(clips / f"decoder_cases/video_{angle}.mov")
    upright_VHWC = np.rot90(oracle(path), turns, axes=(1, 2))
    facts = decode.probe(path)
    assert np.array_equal(np.stack(list(decode.pyav_frames(path, facts))), upright_VHWC)
    assert np.array_equal(np.stack(list(decode.decord_frames(path, facts))), upright_VHWC)


def test_content_instead_of_a_path(tmp_path, make_video):
    path = make_video(tmp_path / "v.webm")
    here, there = decode_video(str(path)), decode_video(path.read_bytes())
    assert np.array_equal(here.frames_VHWC, there.frames_VHWC)
    assert np.array_equal(decode_video(path.read_bytes(), [3]).frames_VHWC, here.frames_VHWC[[3]])


def test_the_suffix_does_not_matter(tmp_path, make_video, oracle):
    path = make_video(tmp_path / "v.mp4").rename(tmp_path / "v.webm")
    assert np.array_equal(decode_video(str(path)).frames_VHWC, oracle(path))


@pytest.mark.parametrize("suffix", ["webm", "avi"])
@pytest.mark.parametrize("wish", [[-1], [12], [0, 99]])
def test_an_index_outside_the_video_is_an_error(tmp_path, make_video, suffix, wish):
    with pytest.raises(IndexError, match="video of 12"):
        decode_video(str(make_video(tmp_path / f"v.{suffix}", frames=12)), wish)


def test_pyav_takes_over_where_decord_fails_or_is_inexact(clips):
    assert decode_video(str(clips / "decoder_cases/av1_video.mkv"), [0]).decoder == "pyav"  # decord has no AV1
    assert decode_video(str(clips / "decoder_cases/h264_10bits.mp4"), [0]).decoder == "pyav"
    path = str(clips / "decoder_cases/h264_10bits.mp4")
    trusting = replace(decode.probe(path), bits=8)
    reading = decode.read_frames(path, trusting, lambda frames: sum(1 for _ in frames), compare=True)
    assert (reading.value, reading.decoder, reading.note) == (30, "pyav", "decord and PyAV differ from frame 0 on")


def test_a_count_that_the_decoders_do_not_share_is_settled_by_pyav(tmp_path, make_video):
    path = str(make_video(tmp_path / "v.mp4", frames=12))
    odd = replace(decode.probe(path), packets=13)
    reading = decode.read_frames(path, odd, lambda frames: sum(1 for _ in frames))
    assert (reading.value, reading.decoder) == (12, "pyav")
    assert reading.note == "decord counts 12 frames, PyAV 13"


@pytest.mark.parametrize("suffix", ["webm", "mp4", "avi"])
def test_no_cut_is_silent(tmp_path, make_video, suffix):
    whole = make_video(tmp_path / f"v.{suffix}", frames=40).read_bytes()
    for share in np.linspace(0.1, 0.99, 23):
        with pytest.raises(DecodeError, match="truncated"):
            decode_video(whole[: int(len(whole) * share)])


def test_a_cut_that_the_container_cannot_see_shows_in_the_time(tmp_path, make_video):
    """A segment without a size, as live writers leave it: only the clusters and the declared duration are left."""
    whole = bytearray(make_video(tmp_path / "v.webm", frames=40).read_bytes())
    place = whole.index(b"\x18\x53\x80\x67") + 4
    length = 9 - whole[place].bit_length()
    whole[place : place + length] = bytes([0xFF >> (length - 1)]) + b"\xff" * (length - 1)
    assert len(decode_video(bytes(whole)).frames_VHWC) == 40
    cluster = whole.index(b"\x1f\x43\xb6\x75") + 4
    length = 9 - whole[cluster].bit_length()
    whole[cluster : cluster + length] = bytes([0xFF >> (length - 1)]) + b"\xff" * (length - 1)
    for share in (0.3, 0.6, 0.8, 0.9):
        with pytest.raises(DecodeError, match="truncated: its frames end"):
            decode_video(bytes(whole[: int(len(whole) * share)]))


def test_a_whole_file_with_damage_inside_is_no_truncation(tmp_path, make_video):
    content = bytearray(make_video(tmp_path / "v.mp4", frames=40).read_bytes())
    middle = slice(int(len(content) * 0.3), int(len(content) * 0.7))
    content[middle] = np.random.default_rng(0).bytes(len(content[middle]))
    with pytest.raises(DecodeError, match=r"^decode_error"):
        decode_video(bytes(content))


def test_sound_that_outlasts_the_picture_is_no_truncation(tmp_path, moving_pattern):
    path = tmp_path / "v.mp4"
    with av.open(str(path), "w") as container:
        picture = container.add_stream("libx264", rate=12)
        picture.height, picture.width, picture.pix_fmt = 48, 64, "yuv420p"
        sound = container.add_stream("aac", rate=48_000, layout="mono")
        for frame_HWC in moving_pattern(12):
            container.mux(picture.encode(av.VideoFrame.from_ndarray(frame_HWC, format="rgb24")))
        container.mux(picture.encode())
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 48_000 * 3), np.float32), format="fltp", layout="mono")
        silence.sample_rate = 48_000
        container.mux(sound.encode(silence))
        container.mux(sound.encode())
    assert len(decode_video(str(path)).frames_VHWC) == 12


def test_a_corrupted_file_is_an_error(clips):
    with pytest.raises(DecodeError, match="decode_error: PyAV failed at frame 28"):
        decode_video(str(clips / "decoder_cases/corrupted.mp4"))


def test_a_picture_is_one_frame_and_a_missing_file_is_missing(tmp_path):
    cv2.imwrite(str(tmp_path / "a.png"), np.zeros((32, 32, 3), np.uint8))
    assert len(decode_video(str(tmp_path / "a.png")).frames_VHWC) == 1
    with pytest.raises(DecodeError, match=r"^missing"):
        decode_video(str(tmp_path / "nowhere.mp4"))


def test_decord_never_seeks_a_lone_last_frame(tmp_path, moving_pattern):
    """Frames one above a multiple of the chunk leave the last one alone; it must still be the last one."""
    path = tmp_path / "v.mp4"
    write_video(path, moving_pattern(decode.CHUNK * 2 + 1), fps=12)
    frames = list(decode.decord_frames(str(path), decode.probe(str(path))))
    whole_VHWC = decord.VideoReader(str(path), num_threads=1).get_batch(range(len(frames))).asnumpy()
    assert np.array_equal(np.stack(frames), whole_VHWC)
