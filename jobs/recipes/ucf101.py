"""UCF-101 with two streams: 9,537 training and 3,783 test videos in fold 1 (data.fold=2 and 3 for the others).

Frames and flow first:

    jobs/prepare_data.py --name ucf101 --source VIDEOS --out s3://BUCKET/ucf101
    jobs/extract_flow.py --data s3://BUCKET/ucf101 --size 340x256 --preset cuda

Expected numbers are rows of S3's table 4.2. It cites its baselines from their papers, whose networks and folds are
others: Two-Stream and TSN report the mean of three folds, on CNN-M-2048 and BN-Inception. Ours are on Inception-V3.
"""

from pipeline.two_stream import presets
from pipeline.two_stream.recipe import SystemExpected, TwoStreamRecipe

CLASSES = 101


def two_stream_ucf101() -> TwoStreamRecipe:
    """Two streams with cross attention.

    Command: ray job submit --working-dir . -- jobs/train_two_stream.py two_stream_ucf101 --data s3://BUCKET/ucf101
        --storage s3://BUCKET/runs --run ucf101
    Cost: 3.0e17 FLOP: 450 epochs x 9,537 samples x 3 x 11.4 GFLOP x 2 streams; maps of 1.7 million places add 4e16.
    Expect: fusion 92.7 (S3 table 4.2).
    """
    source = "S3 table 4.2"
    return presets.cross_attention(
        "two_stream_ucf101", CLASSES, SystemExpected(source=source, fused=92.7, cost="3.4e17 FLOP")
    )


def two_stream_alternating_ucf101() -> TwoStreamRecipe:
    """The same by Algorithm 1: 300 rounds of one epoch, new maps in each.

    Command: as two_stream_ucf101.
    Cost: 2.0e17 FLOP of training, and 1.2e18 of maps: 300 x 2 times every tenth of 1.7 million places.
    Expect: as two_stream_ucf101; the thesis found the same quality at a higher cost (its figure 4.1).
    """
    expected = SystemExpected(source="S3 figure 4.1: as table 4.2", fused=92.7, cost="1.4e18 FLOP")
    return presets.alternating("two_stream_alternating_ucf101", CLASSES, expected)


def plain_two_stream_ucf101() -> TwoStreamRecipe:
    """The baseline Two-Stream: one frame, one stack of ten flows, no maps.

    Command: as two_stream_ucf101.
    Cost: 2.0e17 FLOP: 300 epochs x 9,537 samples x 3 x 11.4 GFLOP x 2 streams.
    Expect: fusion 88.0 (S3 table 4.2, cited there from another network).
    """
    expected = SystemExpected(source="S3 table 4.2, Two-Stream", fused=88.0, cost="2.0e17 FLOP")
    return presets.plain_two_stream("plain_two_stream_ucf101", CLASSES, expected)


def tsn_ucf101() -> TwoStreamRecipe:
    """The baseline TSN: three segments, stacks of five flows, partial batch norm.

    Command: as two_stream_ucf101.
    Cost: 1.6e17 FLOP: 80 epochs x 9,537 samples x 3 segments x 3 x 11.4 GFLOP x 2 streams.
    Expect: fusion 94.0 (S3 table 4.2, cited there from another network).
    """
    expected = SystemExpected(source="S3 table 4.2, TSN", fused=94.0, cost="1.6e17 FLOP")
    return presets.tsn("tsn_ucf101", CLASSES, expected)
