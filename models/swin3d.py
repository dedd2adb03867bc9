"""Video Swin Transformer without temporal stride: one token a place and frame, so that every frame keeps its own map.

Source: Liu et al. 2022, "Video Swin Transformer", as torchvision built it; patch embedding, attention and blocks are
torchvision's own, and its weights fit (models/swin_weights.py). Input B,3,T,224,224, the tiny network:

| part   | layers                               | stride | channels | output      |
|--------|--------------------------------------|--------|----------|-------------|
| stem   | patches (1,4,4), layer norm          | 4      | 96       | T x 56 x 56 |
| stage1 | 2 blocks                             | 1      | 96       | T x 56 x 56 |
| stage2 | patch merging, 2 blocks              | 2      | 192      | T x 28 x 28 |
| stage3 | patch merging, 6 blocks              | 2      | 384      | T x 14 x 14 |
| stage4 | patch merging, 2 blocks, layer norm  | 2      | 768      | T x 7 x 7   |

The published stem takes patches of two frames and halves time, and an edit of one frame would have no token of its
own. Here a patch is of one frame and its weights are the sum over the two: exactly the published network on a clip
that shows every frame twice (docs/decisions/0018). Windows are the published 8 x 7 x 7 tokens; only they mix frames.
"""

from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from models.config import ModelConfig
from models.layers3d import Backbone, Stage, classifier

BLOCKS: dict[int, tuple[int, int, int, int]] = {8: (2, 2, 2, 2), 12: (2, 2, 6, 2), 24: (2, 2, 18, 2)}
"""Blocks of stages 1 to 4, by depth. 12 is the published tiny network; 24 small (width 96) and base (128)."""

PATCH = 4
"""Pixels of a patch's side."""

HEAD = 32
"""Channels of an attention head; a network narrower than that has one head in stage 1."""

WINDOW = (8, 7, 7)
"""Frames, rows and columns of tokens that attend to each other; every second block moves the windows by half."""


def swin3d(config: ModelConfig) -> Backbone:
    """Cut the transformer between stages 3 and 4, as the 3D ResNet is cut: 14 x 14 places at 224 x 224."""
    return Backbone(
        extractor=Swin3dExtractor(config),
        channels=config.width * 4,
        stage_channels=config.width * 8,
        attention_stage=partial(SwinStage, config, 4, config.width * 4, stride=1),
        perception=partial(Swin3dPerception, config),
    )


class PatchMerging(nn.Module):
    """A place and its neighbours below and to the right, normalised and projected to `channels`.

    At stride 2 this is the published layer, which halves H and W. At stride 1 the same weights meet every place, as a
    convolution without its stride would; rows and columns beyond the edge are zero either way.

    Shape: B,T,H,W,`channels_in` to B,T,H/stride,W/stride,`channels`, rounded up.
    """

    def __init__(self, channels_in: int, channels: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.norm = nn.LayerNorm(4 * channels_in)
        self.reduction = nn.Linear(4 * channels_in, channels, bias=False)

    def forward(self, x_BTHWC: Tensor) -> Tensor:
        """Gather, normalise, project."""
        height, width = x_BTHWC.shape[2:4]
        padded_BTHWC = functional.pad(x_BTHWC, (0, 0, 0, 1, 0, 1))
        parts = [
            padded_BTHWC[:, :, down : down + height : self.stride, right : right + width : self.stride]
            for right in (0, 1)
            for down in (0, 1)
        ]
        y_BTHWC: Tensor = self.reduction(self.norm(torch.cat(parts, dim=-1)))
        return y_BTHWC


class SwinStage(nn.Module):
    """Patch merging, but in stage 1, and transformer blocks.

    Shape: B,`channels_in`,T,H,W to B,C,T,H/stride,W/stride with C the stage's channels.
    """

    def __init__(self, config: ModelConfig, number: int, channels_in: int, stride: int) -> None:
        super().__init__()
        channels = config.width * 2 ** (number - 1)
        self.merging = nn.Identity() if number == 1 else PatchMerging(channels_in, channels, stride)
        self.blocks = Stage(
            *_blocks(config, number, channels),
            checkpointing=config.activation_checkpointing,
            draws=config.stochastic_depth > 0,
        )
        # 0.02 is published for 96 channels; with fewer it would leave next to nothing of the residual branches.
        deviation = 0.02 * max(1.0, 96 / config.width) ** 0.5
        for layer in self.modules():
            if isinstance(layer, nn.Linear):
                nn.init.trunc_normal_(layer.weight, std=deviation)
                if layer.bias is not None:
                    nn.init.zeros_(layer.bias)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Merge patches and attend."""
        y_BTHWC: Tensor = self.blocks(self.merging(x_BCTHW.permute(0, 2, 3, 4, 1)))
        return y_BTHWC.permute(0, 4, 1, 2, 3)


def _blocks(config: ModelConfig, number: int, channels: int) -> list[nn.Module]:
    from torchvision.models.swin_transformer import SwinTransformerBlock
    from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d

    counts = BLOCKS[config.depth]
    first = sum(counts[: number - 1])
    heads = max(1, config.width // HEAD) * 2 ** (number - 1)
    return [
        SwinTransformerBlock(
            channels,
            heads,
            window_size=list(WINDOW),
            shift_size=[size // 2 if block % 2 else 0 for size in WINDOW],
            # From none in the first block to all of it in the last, as published.
            stochastic_depth_prob=config.stochastic_depth * (first + block) / (sum(counts) - 1),
            attn_layer=ShiftedWindowAttention3d,
        )
        for block in range(counts[number - 1])
    ]


class Swin3dExtractor(nn.Module):
    """Stem and stages 1 to 3: B,3,T,H,W to B,4*width,T,H/16,W/16, rounded up."""

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        from torchvision.models.video.swin_transformer import PatchEmbed3d

        width = config.width
        self.stem = PatchEmbed3d([1, PATCH, PATCH], embed_dim=width, norm_layer=nn.LayerNorm)
        self.stage1 = SwinStage(config, 1, width, stride=1)
        self.stage2 = SwinStage(config, 2, width, stride=2)
        self.stage3 = SwinStage(config, 3, width * 2, stride=2)

    def forward(self, x_BCTHW: Tensor) -> Tensor:
        """Extract the features f."""
        tokens_BTHWC: Tensor = self.stem(x_BCTHW)
        f_BCTHW: Tensor = self.stage3(self.stage2(self.stage1(tokens_BTHWC.permute(0, 4, 1, 2, 3))))
        return f_BCTHW


class Swin3dPerception(nn.Module):
    """Stage 4, layer norm, average over T, H and W, dropout, linear: features to logits B,K."""

    def __init__(self, config: ModelConfig, channels_in: int) -> None:
        super().__init__()
        channels = config.width * 8
        self.stage = SwinStage(config, 4, channels_in, stride=2)
        self.norm = nn.LayerNorm(channels)
        self.dropout = nn.Dropout(config.dropout)
        self.fc = classifier(channels, config.classes)

    def forward(self, f_BCTHW: Tensor) -> Tensor:
        """Classify features."""
        tokens_BTHWC = self.stage(f_BCTHW).permute(0, 2, 3, 4, 1)
        logits_BK: Tensor = self.fc(self.dropout(self.norm(tokens_BTHWC).mean(dim=(1, 2, 3))))
        return logits_BK
