"""One clip of one video: the frames it shows, the label it has, what it depends on."""

import av
import numpy as np
import pytest

from pipeline.core.errors import UserError
from pipeline.data.config import AugmentConfig, ClipConfig, ViewConfig
from pipeline.data.feed import clips as clips_module
from pipeline.data.feed.augment import apply, draw
from pipeline.data.feed.clips import View, clip_generator, load_clip, load_original, load_views, views_of
from pipeline.data.feed.flip import NEVER
from pipeline.data.feed.sampling import draw_indices, view_indices
from pipeline.data.records import EncodedVideo
from pipeline.data.store.shards import Codec, encode_frame

LEFT, RIGHT, ALONE, FREE = range(4)
FLIP_MAP = (RIGHT, LEFT, NEVER, FREE)
PLAIN = AugmentConfig(crop="center", flip=0, brightness=0, contrast=0, saturation=0, hue=0)


def numbered_frame(number, height=48, width=64):
    """A frame that shows its number in its grey, dark on its left edge: neither JPEG nor a resize hides them."""
    frame = np.full((height, width, 3), 60 + 4 * number, np.uint8)
    frame[:, : width // 8] = 0
    return frame


def number_of(x_HWC):
    return round((float(np.median(x_HWC)) - 60) / 4)


def encoded(frames, label=FREE, name="v"):
    jpeg_V = tuple(memoryview(encode_frame(frame, Codec())) for frame in frames)
    return EncodedVideo(name, label, 12.0, *frames[0].shape[:2], jpeg_V)


def numbered(length, **kwargs):
    return encoded([numbered_frame(v) for v in range(length)], **kwargs)


def noisy(length=6, **kwargs):
    rng = np.random.default_rng(5)
    return encoded([rng.integers(0, 256, (48, 64, 3), dtype=np.uint8) for _ in range(length)], **kwargs)


def same(a, b):
    return (
        (a.id, a.label) == (b.id, b.label)
        and np.array_equal(a.x_THWC, b.x_THWC)
        and np.array_equal(a.idx_T, b.idx_T)
        and np.array_equal(a.valid_T, b.valid_T)
    )


@pytest.mark.parametrize("length", [1, 3, 8, 13, 40])
@pytest.mark.parametrize(
    "clip",
    [
        ClipConfig(frames=8, size=32, short_side=48),
        ClipConfig(frames=8, size=32, short_side=48, stride=3),
        ClipConfig(frames=8, size=32, short_side=48, sampling="uniform"),
        ClipConfig(frames=8, size=32, short_side=48, repeat_one_frame=True),
    ],
    ids=["dense", "strided", "uniform", "one frame"],
)
def test_every_clip_frame_shows_the_video_frame_that_its_index_names(length, clip):
    video = numbered(length)
    crops = AugmentConfig(flip=0.5, brightness=0, contrast=0, saturation=0, hue=0, area=(0.5, 1))
    loaded = [load_clip(video, clip, epoch=e, augment=crops, flip_map=FLIP_MAP) for e in range(3)]
    loaded += load_views(video, clip, views_of(ViewConfig(clips=2, crops=3)))
    for one in loaded:
        assert [number_of(x_HWC) for x_HWC in one.x_THWC] == one.idx_T.tolist()
        assert one.idx_T.max() < length
        assert one.x_THWC.shape == (8, 32, 32, 3)
        assert one.x_THWC.dtype == np.uint8


def test_the_test_clip_is_the_sampled_frames_cropped():
    video, clip = noisy(20), ClipConfig(frames=8, size=40, short_side=48)
    loaded = load_clip(video, clip)
    idx_T, valid_T = view_indices(20, clip, 0, 1)
    assert np.array_equal(loaded.idx_T, idx_T)
    assert np.array_equal(loaded.valid_T, valid_T)
    frames = clips_module.decode_frames(video, idx_T.tolist())
    assert np.array_equal(loaded.x_THWC, frames[:, 4:44, 12:52])


def test_the_training_clip_is_its_draws_applied():
    video, clip, augment = noisy(20, label=LEFT), ClipConfig(frames=8, size=40, short_side=48), AugmentConfig()
    for epoch in range(8):
        loaded = load_clip(video, clip, seed=3, epoch=epoch, augment=augment, flip_map=FLIP_MAP)
        rng = clip_generator(3, epoch, "v")
        idx_T, _ = draw_indices(20, clip, rng)
        decision = draw(rng, augment, 48, 64, may_flip=True)
        assert np.array_equal(loaded.idx_T, idx_T)
        assert np.array_equal(loaded.x_THWC, apply(clips_module.decode_frames(video, idx_T.tolist()), decision, clip))
        assert loaded.label == (RIGHT if decision.flip else LEFT)


def test_a_label_follows_the_flip_that_the_pixels_show():
    clip = ClipConfig(frames=2, size=48, short_side=48)
    augment = AugmentConfig(crop="center", flip=0.5, brightness=0, contrast=0, saturation=0, hue=0)
    dark_left = np.full((48, 48, 3), 200, np.uint8)
    dark_left[:, :20] = 0
    for label, flipped_label in [(LEFT, RIGHT), (RIGHT, LEFT), (FREE, FREE), (ALONE, None)]:
        flips = 0
        for epoch in range(40):
            video = encoded([dark_left] * 2, label=label)
            loaded = load_clip(video, clip, epoch=epoch, augment=augment, flip_map=FLIP_MAP)
            flipped = bool(loaded.x_THWC[:, :, 40:].mean() < 60)
            assert loaded.label == (flipped_label if flipped else label)
            flips += flipped
        assert (flips == 0) if label == ALONE else (8 < flips < 32)


def test_identical_frames_stay_identical_under_every_augmentation():
    picture = np.random.default_rng(0).integers(0, 256, (48, 64, 3), dtype=np.uint8)
    video, clip = encoded([picture] * 5), ClipConfig(frames=8, size=32, short_side=48)
    for crop in ("random_resized", "multiscale_corner", "center"):
        for epoch in range(10):
            augment = AugmentConfig(crop=crop)
            x_THWC = load_clip(video, clip, epoch=epoch, augment=augment, flip_map=FLIP_MAP).x_THWC
            assert (x_THWC == x_THWC[:1]).all()


def test_a_clip_depends_on_seed_epoch_and_id_and_on_nothing_else():
    clip, augment = ClipConfig(frames=4, size=32, short_side=48), AugmentConfig()

    def load(seed=0, epoch=0, name="v"):
        return load_clip(noisy(name=name), clip, seed=seed, epoch=epoch, augment=augment, flip_map=FLIP_MAP)

    first = load()
    np.random.default_rng(0).random(100)
    assert same(first, load())
    for other in (load(seed=1), load(epoch=1), load(name="w")):
        assert not np.array_equal(first.x_THWC, other.x_THWC)


def test_the_generator_of_a_clip_is_pinned():
    """A change here changes the augmentation of every run and breaks their resumption: it needs a new version."""
    assert clip_generator(7, 3, "74225").random(3).tolist() == [
        0.1112681353009084,
        0.1711312853905731,
        0.37923026155189943,
    ]


def test_views_share_the_decoding_of_their_clip(monkeypatch):
    decoded = []

    def counting(video, frames):
        decoded.append(list(frames))
        return decode(video, frames)

    decode = clips_module.decode_frames
    monkeypatch.setattr(clips_module, "decode_frames", counting)
    views = views_of(ViewConfig(clips=2, crops=10))
    together = load_views(noisy(20), ClipConfig(frames=8, size=32, short_side=48), views)
    assert len(decoded) == 2
    assert len(together) == len(views) == 20
    alone = [load_clip(noisy(20), ClipConfig(frames=8, size=32, short_side=48), view=view) for view in views]
    assert all(same(a, b) for a, b in zip(together, alone, strict=True))


def test_a_frame_is_decoded_once_however_often_the_clip_shows_it(monkeypatch):
    decoded = []
    decode = clips_module.decode_frames
    monkeypatch.setattr(
        clips_module, "decode_frames", lambda v, frames: decoded.append(list(frames)) or decode(v, frames)
    )
    clip = ClipConfig(frames=8, size=32, short_side=48)
    load_clip(numbered(3), clip, augment=PLAIN, flip_map=FLIP_MAP)
    load_clip(numbered(3), clip)
    assert decoded == [[0, 1, 2], [0, 1, 2]]


def test_views_are_counted_clip_by_clip():
    assert views_of(ViewConfig()) == (View(0, 1, 0, 1),)
    assert [(v.clip, v.crop) for v in views_of(ViewConfig(clips=2, crops=3))] == [
        (c, s) for c in (0, 1) for s in range(3)
    ]


def test_an_original_file_gives_the_same_frames(tmp_path):
    path = tmp_path / "numbered.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=12, options={"crf": "1"})
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        for v in range(20):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(numbered_frame(v), format="rgb24")))
        container.mux(stream.encode())
    clip = ClipConfig(frames=8, size=40, short_side=48)
    views = views_of(ViewConfig(clips=2, crops=3))
    originals = load_original(str(path), clip, views, label=2)
    prepared = load_views(numbered(20), clip, views)
    for original, shard in zip(originals, prepared, strict=True):
        assert (original.id, original.label) == (str(path), 2)
        assert np.array_equal(original.idx_T, shard.idx_T)
        assert [number_of(x_HWC) for x_HWC in original.x_THWC] == original.idx_T.tolist()
        assert np.abs(original.x_THWC.astype(int) - shard.x_THWC).mean() < 4


def test_a_broken_original_is_refused_with_its_name(tmp_path):
    path = tmp_path / "broken.mp4"
    path.write_bytes(b"not a video")
    for wrong in (path, tmp_path / "absent.mp4"):
        with pytest.raises(UserError, match=wrong.name):
            load_original(str(wrong), ClipConfig())
