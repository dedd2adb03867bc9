"""C3D: eight 3x3x3 convolutions, five pools, three linear layers.

Source: Tran et al. 2015, "Learning Spatiotemporal Features with 3D Convolutional Networks", figure 3. At 16 x 112 x 112
every size is the published one (fc6 sees 512 x 1 x 4 x 4 = 8192 values); an average pool to that grid, the identity
there, lets other sizes in. Pools round up as Caffe's do: that is how 7 becomes 4 before fc6.
"""

from functools import partial

from torch import Tensor, nn

from models.config import ModelConfig
from models.layers3d import Backbone, Stage, classifier, init_convolutions

GRID = (1, 4, 4)
"""T,H,W before fc6."""


def c3d(config: ModelConfig) -> Backbone:
    """Cut C3D after conv4b, before pool4: the features then have 14 x 14 places at 112 x 112, as a ResNet's at 224."""
    channels = config.width * 8
    return Backbone(
        extractor=C3dExtractor(config),
        channels=channels,
        stage_channels=channels,
        attention_stage=partial(_stage, config, channels, channels, 2),
        perception=partial(C3dPerception, config),
    )


def _stage(config: ModelConfig, channels_in: int, channels: int, convolutions: int) -> Stage:
    blocks = [
        nn.Sequential(nn.Conv3d(channels if i else channels_in, channels, 3, padding=1), nn.ReLU(inplace=True))
        for i in range(convolutions)
    ]
    stage = Stage(*blocks, checkpointing=config.activation_checkpointing)
    init_convolutions(stage)
    return stage


def _pool(config: ModelConfig) -> nn.MaxPool3d:
    return nn.MaxPool3d((2 if config.c3d_temporal_pool else 1, 2, 2), ceil_mode=True)


class C3dExtractor(nn.Module):
    """conv1a to conv4b: B,3,T,H,W to B,8*width,T/4,H/8,W/8, or the same T without temporal pools."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        width = config.width
        self.stage1 = _stage(config, 3, width, 1)
        self.pool1 = nn.MaxPool3d((1, 2, 2), ceil_mode=True)
        self.stage2 = _stage(config, width, 2 * width, 1)
        self.pool2 = _pool(config)
        self.stage3 = _stage(config, 2 * width, 4 * width, 2)
        self.pool3 = _pool(config)
        self.stage4 = _stage(config, 4 * width, 8 * width, 2)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Extract the features f."""
        y_BCTHW = self.pool1(self.stage1(x_BCTHW))
        y_BCTHW = self.pool2(self.stage2(y_BCTHW))
        y_BCTHW = self.pool3(self.stage3(y_BCTHW))
        f_BCTHW: Tensor = self.stage4(y_BCTHW)
        return f_BCTHW


class C3dPerception(nn.Module):
    """pool4, conv5a and conv5b, pool5, fc6, fc7, fc8: features to logits B,K. Dropout before fc7 and fc8."""

    def __init__(self, config: ModelConfig, channels_in: int) -> None:
        super().__init__()
        channels, hidden = config.width * 8, config.width * 64
        time, height, width = GRID
        self.pool4 = _pool(config)
        self.stage = _stage(config, channels_in, channels, 2)
        self.pool5 = _pool(config)
        self.grid = nn.AdaptiveAvgPool3d(GRID)
        self.fc6 = nn.Linear(channels * time * height * width, hidden)
        self.fc7 = nn.Linear(hidden, hidden)
        self.fc8 = classifier(hidden, config.classes)
        self.relu = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(config.dropout)
        for linear in (self.fc6, self.fc7):
            nn.init.kaiming_normal_(linear.weight, nonlinearity="relu")
            nn.init.zeros_(linear.bias)

    def forward(self, f_BCTHW: Tensor) -> Tensor:
        """Classify features."""
        y_BCTHW = self.pool5(self.stage(self.pool4(f_BCTHW)))
        y_BC = self.grid(y_BCTHW).flatten(1)
        y_BC = self.dropout(self.relu(self.fc6(y_BC)))
        y_BC = self.dropout(self.relu(self.fc7(y_BC)))
        logits_BK: Tensor = self.fc8(y_BC)
        return logits_BK
