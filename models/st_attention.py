"""The spatio-temporal attention branch: class maps, and from them a score, a map a frame and a weight a frame.

Source: as st_abn.py; where papers and authors' code differ, docs/decisions/0001.
A is the B,K,T,H,W tensor of class maps, Ms the spatial attention B,1,T,H,W and Mt the temporal attention B,1,T,1,1,
all at the extractor's resolution (14 x 14 for 224 x 224 clips).
"""

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.layers3d import classifier, conv3d, init_convolutions


class StAttention(nn.Module):
    """Features to attention-branch logits B,K, spatial attention Ms and temporal attention Mt.

    Args:
        config: classes K, frames T, and the branch's options.
        stage: the backbone's last stage without spatial reduction.
        stage_channels: channels that `stage` returns.
    """

    def __init__(self, config: ModelConfig, stage: nn.Module, stage_channels: int) -> None:
        super().__init__()
        self.stage = stage
        self.maps = nn.Sequential(
            nn.BatchNorm3d(stage_channels),
            conv3d(stage_channels, config.classes, (1, 1, 1)),
            nn.BatchNorm3d(config.classes),
            nn.ReLU(inplace=True),
        )
        self.class_head = LinearClassHead(config) if config.att_head == "linear" else GapClassHead(config)
        self.spatial_head = SpatialHead(config.classes)
        self.temporal_head = TemporalHead(config)
        init_convolutions(self.maps)

    def forward(
        self,
        f_BCTHW: Tensor,
        temporal_override_BT: Tensor | None = None,
        spatial_override_B1THW: Tensor | None = None,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Attend to features; an override takes the place of what the network would have computed.

        Args:
            f_BCTHW: the extractor's features.
            temporal_override_BT: values in [0, 1] to use as Mt.
            spatial_override_B1THW: values in [0, 1] to use as Ms.

        Returns:
            Logits B,K; Ms B,1,T,H,W; Mt B,1,T,1,1; both maps at least float32.

        Raises:
            ValueError: an override of another shape.
        """
        maps_BKTHW = self.maps(self.stage(f_BCTHW))
        batch, _, frames, height, width = maps_BKTHW.shape
        logits_BK = self.class_head(maps_BKTHW)
        if spatial_override_B1THW is None:
            spatial_B1THW = self.spatial_head(maps_BKTHW)
        else:
            _check_override("spatial_override_B1THW", spatial_override_B1THW, (batch, 1, frames, height, width))
            spatial_B1THW = spatial_override_B1THW.to(f_BCTHW.device, _wide(f_BCTHW.dtype))
        if temporal_override_BT is None:
            temporal_BT = self.temporal_head(maps_BKTHW)
        else:
            _check_override("temporal_override_BT", temporal_override_BT, (batch, frames))
            temporal_BT = temporal_override_BT.to(f_BCTHW.device, _wide(f_BCTHW.dtype))
        return logits_BK, spatial_B1THW, temporal_BT[:, None, :, None, None]


class LinearClassHead(nn.Module):
    """1x1x1 convolution, average over H and W of each frame, dropout, linear on the K*T values. Authors' code."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.conv = conv3d(config.classes, config.classes, (1, 1, 1))
        self.dropout = nn.Dropout(config.dropout)
        self.fc = classifier(config.classes * config.frames, config.classes)
        init_convolutions(self)

    def forward(self, maps_BKTHW: Tensor) -> Tensor:
        """Score the classes over all frames."""
        scores_BKT = self.conv(maps_BKTHW).mean(dim=(3, 4))
        logits_BK: Tensor = self.fc(self.dropout(scores_BKT.flatten(1)))
        return logits_BK


class GapClassHead(nn.Module):
    """1x1x1 convolution and global average over T, H and W, as the papers print it; nothing to drop out of."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        self.conv = conv3d(config.classes, config.classes, (1, 1, 1))
        init_convolutions(self)

    def forward(self, maps_BKTHW: Tensor) -> Tensor:
        """Score the classes over all frames."""
        logits_BK: Tensor = self.conv(maps_BKTHW).mean(dim=(2, 3, 4))
        return logits_BK


class SpatialHead(nn.Module):
    """1x1x1 convolution to one channel, batch norm, sigmoid: Ms."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.conv = conv3d(classes, 1, (1, 1, 1))
        self.bn = nn.BatchNorm3d(1)
        init_convolutions(self)

    def forward(self, maps_BKTHW: Tensor) -> Tensor:
        """Score every place of every frame."""
        return _sigmoid(self.bn(self.conv(maps_BKTHW)))


class TemporalHead(nn.Module):
    """One weight a frame, squeezed and excited over time as SE-Net does over channels: Mt as B,T.

    A convolution to one channel; frames then take the place of channels, so a 1x1 convolution mixes them at each place;
    average over H and W; two linear layers and a sigmoid. T is therefore fixed by the weights.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        kernel = 3 if config.temporal_head == "conv3" else 1
        self.conv = conv3d(config.classes, 1, (kernel, kernel, kernel))
        self.bn = nn.BatchNorm3d(1)
        # A 2D convolution would do, but `Module.to(memory_format=torch.channels_last_3d)` refuses 4-axis weights.
        self.mix = conv3d(config.frames, config.frames, (1, 1, 1))
        self.relu = nn.ReLU(inplace=True)
        self.fc_a = nn.Linear(config.frames, config.frames)
        self.fc_b = nn.Linear(config.frames, config.frames)
        init_convolutions(self)

    def forward(self, maps_BKTHW: Tensor) -> Tensor:
        """Score every frame."""
        map_B1THW = self.relu(self.bn(self.conv(maps_BKTHW)))
        mixed_BT1HW = self.relu(self.mix(map_B1THW.transpose(1, 2)))
        weights_BT = self.fc_b(self.relu(self.fc_a(mixed_BT1HW.mean(dim=(2, 3, 4)))))
        return _sigmoid(weights_BT)


def _wide(dtype: torch.dtype) -> torch.dtype:
    return torch.promote_types(dtype, torch.float32)


def _sigmoid(x: Tensor) -> Tensor:
    # In bf16 a sigmoid is exactly 1 from about 6.3 on, and then has no gradient left.
    return torch.sigmoid(x.to(_wide(x.dtype)))


def _check_override(name: str, override: Tensor, allowed: tuple[int, ...]) -> None:
    if tuple(override.shape) != allowed:
        raise ValueError(
            f"An attention override must have the shape of what it replaces. Received: {name} of shape "
            f"{tuple(override.shape)}. Allowed: {allowed}. Fix: one value for each frame (and place) of each clip."
        )
