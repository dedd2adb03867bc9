"""Two small streams for synthetic videos in UCF-101's layout: minutes on two cores.

    jobs/make_synth.py data/synth --layout ucf101 --size demo --set label=motion classes=4 "active=[0.9,1.0]"
        "frames=[10,22]" "radius=[0.28,0.36]" distractors=0 shake=0 clutter=5 train=720 validation=240
    jobs/prepare_data.py --name ucf101 --source data/synth --out data/demo --short-side 64
    jobs/extract_flow.py --data data/demo --tvl1 scales=3 warps=3

label=motion: an object moves left, right, up or down, which no single frame shows. label=appearance: the class is what
the object is, which every frame shows, and how it moves says nothing.
"""

from dataclasses import replace

from pipeline.data.config import DataConfig
from pipeline.train.recipe import ComputeConfig, OptimConfig, TrainConfig
from pipeline.two_stream import presets
from pipeline.two_stream.recipe import (
    AttentionConfig,
    MapsConfig,
    NetworkConfig,
    PairConfig,
    Round,
    StreamPart,
    SystemExpected,
    TwoStreamRecipe,
)


def two_stream_demo() -> TwoStreamRecipe:
    """Two streams with cross attention, on an Inception-V3 of a quarter of the channels.

    Command: make demo-two-stream, or jobs/train_two_stream.py two_stream_demo --data data/demo
    Cost: minutes on two cores.
    Expect: where the class is the motion, the temporal stream above 85 % and the spatial one near chance, 25 %; where
        it is the appearance, the reverse.
    """
    # Adam, since random weights are far from ImageNet's: SGD needs about twice the epochs here.
    optim = OptimConfig(
        name="adam", lr=2e-3, reference_batch=0, weight_decay=0.0, schedule="cosine", warmup_epochs=0.5, clip_norm=20.0
    )
    part = StreamPart(dropout=0.0, optim=optim)
    # Nearly whole frames: with TSN's smaller crops a network this narrow learns for much longer.
    part = replace(part, augment=replace(part.augment, scales=(1.0, 0.875)))
    return TwoStreamRecipe(
        name="two_stream_demo",
        data=DataConfig(test_split="test"),
        pair=PairConfig(short_side=159),
        network=NetworkConfig(classes=4, flow_stack=5, size=139, width=0.25),
        spatial=part,
        temporal=part,
        rounds=(Round(epochs=10), Round(epochs=5)),
        maps=MapsConfig(stride=2, batch=32),
        attention=AttentionConfig(hidden=64, epochs=6),
        train=TrainConfig(global_batch=8, channels_last=True, eval_every=5, log_every=20),
        compute=ComputeConfig(threads=2),
        expected=SystemExpected(source="make demo-two-stream", cost="minutes on two cores"),
    )


def two_stream_alternating_demo() -> TwoStreamRecipe:
    """The same by Algorithm 1, in four rounds of three epochs, since starting a run takes longer than an epoch here.

    Command: jobs/train_two_stream.py two_stream_alternating_demo --data data/demo
    Cost: twice that of two_stream_demo: 8 runs and 9 extractions.
    Expect: as two_stream_demo.
    """
    name = "two_stream_alternating_demo"
    return presets.in_turns(two_stream_demo(), name, rounds=4, epochs=3, milestones=(8.0, 10.0))


def two_stream_unsupervised_demo() -> TwoStreamRecipe:
    """The same with attention nets that no Grad-CAM map has taught: each learns from the other stream's class loss.

    Command: jobs/train_two_stream.py two_stream_unsupervised_demo --data data/demo
    Cost: near two_stream_demo's: 4 runs instead of 6 and no extraction, but a second network in the runs of round two.
    Expect: streams as in two_stream_demo; a map is whatever helps the stream that sees it (docs/decisions/0020).
    """
    recipe = two_stream_demo()
    return replace(recipe, name="two_stream_unsupervised_demo", attention=replace(recipe.attention, learns="labels"))
