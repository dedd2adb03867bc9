"""Something-Something V1: 86,017 training and 11,522 validation videos.

Expected numbers are rows of S1 table 1, the only paper of the three that reports V1. Its pipeline samples one frame
from each of 32 equal segments of the video, which is what `clip.sampling="uniform"` does. S0's rows are of another
pipeline and of V2 alone.

32x2 (S1's "32+32") is a way to test: jobs/evaluate.py --run NAME --protocol 32x2.
"""

from models.config import ModelConfig
from pipeline.data.config import ClipConfig
from pipeline.train.recipe import ComputeConfig, Expected, InitConfig, OptimConfig, Recipe, TrainConfig


def stabn_r50_ssv1() -> Recipe:
    """ST-ABN on 3D ResNet-50.

    Command: ray job submit --working-dir . -- jobs/train_stabn.py stabn_r50_ssv1 --data s3://BUCKET/ssv1
        --storage s3://BUCKET/runs
    Cost: 2.4e19 FLOP: 150 epochs x 86,017 clips x 3 x 618 GFLOP.
    Expect: top-1 45.9, top-5 75.4 with 32 frames; 53.3, 82.0 with 32x2 (S1 table 1).
    """
    return _recipe("stabn_r50_ssv1", ModelConfig(arch="st_abn", depth=50), (45.9, 75.4), "2.4e19 FLOP")


def baseline_r50_ssv1() -> Recipe:
    """3D ResNet-50 without the attention branch.

    Command: as stabn_r50_ssv1.
    Cost: 1.3e19 FLOP: 150 epochs x 86,017 clips x 3 x 334 GFLOP.
    Expect: top-1 45.2, top-5 74.5 with 32 frames; 52.9, 81.5 with 32x2 (S1 table 1).
    """
    return _recipe("baseline_r50_ssv1", ModelConfig(arch="baseline", depth=50), (45.2, 74.5), "1.3e19 FLOP")


def _recipe(name: str, model: ModelConfig, accuracy: tuple[float, float], cost: str) -> Recipe:
    return Recipe(
        name=name,
        clip=ClipConfig(frames=32, sampling="uniform", size=224, short_side=256),
        model=model,
        init=InitConfig(source="imagenet2d"),
        optim=OptimConfig(lr=0.01, reference_batch=64, schedule="multistep", milestones=(75.0, 125.0)),
        train=TrainConfig(epochs=150, global_batch=64, precision="bf16", channels_last=True),
        compute=ComputeConfig(workers=8, gpu=True, cpus_per_worker=2.0, data_cpus=64.0),
        expected=Expected(source="S1 table 1, V1, 32 frames", top1=accuracy[0], top5=accuracy[1], cost=cost),
    )
