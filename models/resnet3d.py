"""3D ResNet as the slow pathway of SlowFast run on all frames: no temporal stride, temporal kernels late.

Source: the ST-ABN papers' backbone, "3D ResNet on the slow pathway", input B,3,T,224,224 (T = 32):

| part   | kernels (depth 50, 101)     | stride | channels | output        |
|--------|-----------------------------|--------|----------|---------------|
| stem   | (1,7,7), max pool (1,3,3)   | 2, 2   | 64       | T x 56 x 56   |
| stage1 | (1,1,1) (1,3,3) (1,1,1)     | 1      | 256      | T x 56 x 56   |
| stage2 | (1,1,1) (1,3,3) (1,1,1)     | 2      | 512      | T x 28 x 28   |
| stage3 | (3,1,1) (1,3,3) (1,1,1)     | 2      | 1024     | T x 14 x 14   |
| stage4 | (3,1,1) (1,3,3) (1,1,1)     | 2      | 2048     | T x 7 x 7     |

Depths 10, 18 and 34 have basic blocks, (kt,3,3) (1,3,3), with a quarter of the stages' channels and the same kt.
"""

from functools import partial

from torch import Tensor, nn

from models.config import ModelConfig
from models.layers3d import Backbone, BasicBlock3d, Bottleneck3d, Stage, classifier, conv3d, init_convolutions

BLOCKS: dict[int, tuple[type[BasicBlock3d | Bottleneck3d], tuple[int, int, int, int]]] = {
    10: (BasicBlock3d, (1, 1, 1, 1)),
    18: (BasicBlock3d, (2, 2, 2, 2)),
    34: (BasicBlock3d, (3, 4, 6, 3)),
    50: (Bottleneck3d, (3, 4, 6, 3)),
    101: (Bottleneck3d, (3, 4, 23, 3)),
}
"""Block and number of blocks in stages 1 to 4, by depth. He et al. 2016, table 1; 10 halves 18."""

TEMPORAL_KERNELS = (1, 1, 3, 3)
"""kt of every block in stages 1 to 4."""


def resnet3d(config: ModelConfig) -> Backbone:
    """Cut the 3D ResNet between stages 3 and 4."""
    block, _ = BLOCKS[config.depth]
    channels, stage_channels = (config.width * scale * block.expansion for scale in (4, 8))
    return Backbone(
        extractor=ResNet3dExtractor(config),
        channels=channels,
        stage_channels=stage_channels,
        attention_stage=partial(_stage, config, 4, channels, stride=1),
        perception=partial(ResNet3dPerception, config),
    )


def _stage(config: ModelConfig, number: int, channels_in: int, stride: int) -> Stage:
    block, counts = BLOCKS[config.depth]
    planes = config.width * 2 ** (number - 1)
    kernel_t = TEMPORAL_KERNELS[number - 1]
    blocks: list[nn.Module] = [block(channels_in, planes, stride, kernel_t)]
    blocks += [block(planes * block.expansion, planes, 1, kernel_t) for _ in range(counts[number - 1] - 1)]
    stage = Stage(*blocks, checkpointing=config.activation_checkpointing)
    init_convolutions(stage)
    return stage


class ResNet3dStem(nn.Module):
    """Convolution (1,7,7), batch norm, ReLU, max pool (1,3,3): B,3,T,H,W to B,width,T,H/4,W/4."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = conv3d(3, width, (1, 7, 7), stride=2)
        self.bn = nn.BatchNorm3d(width)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1))
        init_convolutions(self)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Convolve and pool."""
        y_BCTHW: Tensor = self.pool(self.relu(self.bn(self.conv(x_BCTHW))))
        return y_BCTHW


class ResNet3dExtractor(nn.Module):
    """Stem and stages 1 to 3: B,3,T,H,W to B,16*width,T,H/16,W/16, or 4*width channels with basic blocks."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        expansion = BLOCKS[config.depth][0].expansion
        self.stem = ResNet3dStem(config.width)
        self.stage1 = _stage(config, 1, config.width, stride=1)
        self.stage2 = _stage(config, 2, config.width * expansion, stride=2)
        self.stage3 = _stage(config, 3, config.width * 2 * expansion, stride=2)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Extract the features f."""
        y_BCTHW: Tensor = self.stage3(self.stage2(self.stage1(self.stem(x_BCTHW))))
        return y_BCTHW


class ResNet3dPerception(nn.Module):
    """Stage 4, average over T, H and W, dropout, linear: the perception branch, features to logits B,K."""

    def __init__(self, config: ModelConfig, channels_in: int) -> None:
        super().__init__()
        self.stage = _stage(config, 4, channels_in, stride=2)
        self.dropout = nn.Dropout(config.dropout)
        self.fc = classifier(config.width * 8 * BLOCKS[config.depth][0].expansion, config.classes)

    def forward(self, f_BCTHW: Tensor) -> Tensor:
        """Classify features."""
        features_BC = self.stage(f_BCTHW).mean(dim=(2, 3, 4))
        logits_BK: Tensor = self.fc(self.dropout(features_BC))
        return logits_BK
