"""What a network is: one frozen config for every model of the single-stream family."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A video recogniser: a backbone, plain ("baseline") or split by a spatio-temporal attention branch ("st_abn")."""

    arch: Literal["baseline", "st_abn"] = "st_abn"
    """baseline: the backbone alone. st_abn: backbone, attention branch, attention mechanism, perception branch."""

    backbone: Literal["resnet3d", "c3d"] = "resnet3d"
    """resnet3d: slow pathway, no temporal stride. c3d: 3x3x3 convolutions throughout."""

    depth: Literal[10, 18, 34, 50, 101] = 50
    """Layers of the 3D ResNet; 10, 18 and 34 use basic blocks, 50 and 101 bottlenecks. Ignored by c3d."""

    width: int = 64
    """Channels of the stem; every later stage scales with it. 64 is the published network."""

    classes: int = 174
    """K, the number of classes."""

    frames: int = 32
    """T, frames of a clip. ST-ABN has T baked into its temporal head; the network accepts exactly T frames."""

    dropout: float = 0.5
    """Dropout before the last linear layer of either branch."""

    merge: Literal["conv_bn_relu", "conv_bn", "concat"] = "conv_bn_relu"
    """How [spatial, temporal] features enter the perception branch: 1x1x1 convolution + BN + ReLU; without the ReLU;
    or the literal concatenation of the papers' equation 3 (the perception branch then takes twice the channels)."""

    temporal_head: Literal["conv3", "conv1"] = "conv3"
    """First convolution of the temporal attention: 3x3x3 as in the authors' code, or 1x1x1 as printed."""

    att_head: Literal["linear", "gap"] = "linear"
    """Class head of the attention branch: linear on the flattened K*T vector (code) or global average (papers)."""

    att_stage_init: Literal["random", "copy_stage4"] = "random"
    """Initial weights of the attention stage: random, or the (ImageNet-inflated) weights of stage 4."""

    c3d_temporal_pool: bool = True
    """Pool time by 2 after C3D's blocks 2 to 5, as published. ST-ABN needs False: one attention value a frame."""

    activation_checkpointing: bool = False
    """Recompute residual blocks in the backward pass (non-reentrant): less memory, about a third more compute."""

    def __post_init__(self) -> None:
        if self.classes < 2 or self.frames < 1 or self.width < 1:
            raise ValueError(
                f"classes, frames and width must be at least 2, 1, 1. Received: classes={self.classes}, "
                f"frames={self.frames}, width={self.width}. Fix: set them in the recipe's model section."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1). Received: {self.dropout}. Fix: set model.dropout.")
        if self.backbone == "c3d" and self.arch == "st_abn" and self.c3d_temporal_pool:
            raise ValueError(
                "ST-ABN on C3D needs one attention value for each frame, and temporal pooling removes frames. "
                "Received: backbone=c3d, arch=st_abn, c3d_temporal_pool=True. Fix: set model.c3d_temporal_pool=false."
            )
        if self.att_stage_init == "copy_stage4" and self.merge == "concat":
            raise ValueError(
                "The attention stage cannot start as a copy of stage 4 that takes twice its channels. Received: "
                "att_stage_init=copy_stage4, merge=concat. Fix: set model.att_stage_init=random, or another merge."
            )
