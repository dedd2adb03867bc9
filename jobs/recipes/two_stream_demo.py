"""Two small streams for synthetic videos in UCF-101's layout: minutes on two cores.

jobs/make_synth.py data/synth --layout ucf101 --set "active=[0.9,1.0]" label=motion
jobs/prepare_data.py --name ucf101 --source data/synth --out data/demo --short-side 64
jobs/extract_flow.py --data data/demo --set scales=3 warps=3
"""

from dataclasses import replace

from pipeline.data.config import DataConfig
from pipeline.train.recipe import ComputeConfig, OptimConfig, TrainConfig
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
    Expect: on videos whose class is their motion, the temporal stream above 85 % and the spatial one near chance,
        16.7 %; on those whose class is a shape, the reverse.
    """
    part = StreamPart(
        dropout=0.0, optim=OptimConfig(lr=0.05, reference_batch=0, nesterov=False, schedule="cosine", warmup_epochs=0.5)
    )
    # Nearly whole frames: with TSN's smaller crops a network this narrow learns for much longer.
    part = replace(part, augment=replace(part.augment, scales=(1.0, 0.875)))
    return TwoStreamRecipe(
        name="two_stream_demo",
        data=DataConfig(test_split="test"),
        pair=PairConfig(short_side=159),
        network=NetworkConfig(classes=6, flow_stack=5, size=139, width=0.25),
        spatial=part,
        temporal=part,
        rounds=(Round(epochs=10), Round(epochs=5)),
        maps=MapsConfig(stride=2, batch=32),
        attention=AttentionConfig(hidden=64, epochs=8),
        train=TrainConfig(global_batch=16, channels_last=True, eval_every=5, log_every=20),
        compute=ComputeConfig(threads=2),
        expected=SystemExpected(source="make demo-two-stream", cost="minutes on two cores"),
    )
