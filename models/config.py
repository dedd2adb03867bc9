"""What a network is: one frozen config for the single-stream family, one for a stream of the two-stream system."""

from dataclasses import dataclass
from typing import Literal

DEPTHS = {"resnet3d": (10, 18, 34, 50, 101), "swin3d": (8, 12, 24)}
"""Depths by backbone."""


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """A video recogniser: a backbone, plain ("baseline") or split by a spatio-temporal attention branch ("st_abn")."""

    arch: Literal["baseline", "st_abn"] = "st_abn"
    """baseline: the backbone alone. st_abn: backbone, attention branch, attention mechanism, perception branch."""

    backbone: Literal["resnet3d", "c3d", "swin3d"] = "resnet3d"
    """resnet3d: slow pathway, no temporal stride. c3d: 3x3x3 convolutions throughout. swin3d: Video Swin Transformer,
    no temporal stride."""

    depth: Literal[8, 10, 12, 18, 24, 34, 50, 101] = 50
    """Layers of the 3D ResNet; 10, 18 and 34 use basic blocks, 50 and 101 bottlenecks. Blocks of the transformer: 12 is
    the tiny network, 24 small and base, 8 ours. Ignored by c3d."""

    width: int = 64
    """Channels of the stem; every later stage scales with it. Published are 64, of swin3d 96 (tiny, small) and 128
    (base)."""

    classes: int = 174
    """K, the number of classes."""

    frames: int = 32
    """T, frames of a clip. ST-ABN has T baked into its temporal head; the network accepts exactly T frames."""

    dropout: float = 0.5
    """Dropout before the last linear layer of either branch."""

    stochastic_depth: float = 0.0
    """Share of clips that skip the transformer's last block in training; earlier blocks are skipped less. 0.1 is the
    published tiny network; other backbones have none."""

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
        self._check_backbone()
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

    def _check_backbone(self) -> None:
        allowed = DEPTHS.get(self.backbone, (self.depth,))
        if self.depth not in allowed:
            raise ValueError(
                f"There is no such network. Received: backbone={self.backbone}, depth={self.depth}. Allowed: "
                f"{self.backbone} of depth {', '.join(map(str, allowed))}. Fix: set model.depth."
            )
        if self.backbone == "swin3d" and self.width >= 64 and self.width % (self.width // 32):
            raise ValueError(
                f"The transformer has an attention head for every 32 channels. Received: width={self.width}. Allowed: "
                "below 64, or a multiple of 32. Fix: 96 is the published tiny network."
            )
        if not 0.0 <= self.stochastic_depth < 1.0 or (self.stochastic_depth and self.backbone != "swin3d"):
            raise ValueError(
                f"Only the transformer skips blocks. Received: stochastic_depth={self.stochastic_depth}, "
                f"backbone={self.backbone}. Allowed: in [0, 1) for swin3d, 0 otherwise. Fix: set "
                "model.stochastic_depth."
            )


INCEPTION_MIN_SIZE = 75
"""Smallest image that leaves one place at Mixed_7c of Inception-V3."""

INCEPTION_AUX_MIN_SIZE = 299
"""Smallest image that leaves the 17 x 17 places at Mixed_6e which the auxiliary head's 5x5 convolution needs."""


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """One stream of a two-stream network: Inception-V3 on frames or on stacks of flow, with or without a map beside.

    The cross-attention system has `attention_channel=True`. Its baselines differ by configuration alone: Two-Stream
    (Simonyan and Zisserman 2014) is `attention_channel=False`, TSN (Wang et al. 2016) adds `segments=3` and
    `partial_bn=True`.
    """

    stream: Literal["spatial", "temporal"] = "spatial"
    """spatial: one RGB frame. temporal: a stack of optical flow."""

    classes: int = 101
    """K, the number of classes."""

    flow_stack: int = 10
    """m, flows in a stack, each a u and a v channel. The thesis leaves m open; 10 is its baseline's. Ignored by the
    spatial stream."""

    attention_channel: bool = True
    """Append the other stream's attention map to the input, as the last channel."""

    segments: int = 1
    """G, places of a video that one training sample shows; their logits are averaged (TSN's consensus)."""

    size: int = 299
    """Height and width of the input."""

    width: float = 1.0
    """Every layer's channels, as a share of the published ones: rounded to a multiple of 8, at least 8."""

    dropout: float = 0.5
    """Dropout before the last linear layer."""

    aux_head: bool = False
    """Train the auxiliary classifier of Inception-V3 as well; it needs an input of at least 299."""

    attention_init: Literal["mean", "zero"] = "mean"
    """First weights of the attention channel when the others come from ImageNet: the mean over RGB, as TSN fills the
    channels of flow, or zero, so that training starts from the network without attention."""

    partial_bn: bool = False
    """Keep every batch norm but the first as it is, statistics, scale and shift, as TSN does."""

    @property
    def image_channels(self) -> int:
        """Input channels without the attention map: 3, or 2m."""
        return 3 if self.stream == "spatial" else 2 * self.flow_stack

    @property
    def in_channels(self) -> int:
        """Input channels in all."""
        return self.image_channels + int(self.attention_channel)

    def __post_init__(self) -> None:
        if self.stream not in ("spatial", "temporal") or self.attention_init not in ("mean", "zero"):
            raise ValueError(
                "A stream sees frames or flow, and its attention channel starts in one of two ways. Received: "
                f"stream={self.stream}, attention_init={self.attention_init}. Allowed: spatial, temporal; mean, zero. "
                "Fix: choose one of them in the recipe's stream section."
            )
        if self.classes < 2 or self.flow_stack < 1 or self.segments < 1:
            raise ValueError(
                f"classes, flow_stack and segments must be at least 2, 1, 1. Received: classes={self.classes}, "
                f"flow_stack={self.flow_stack}, segments={self.segments}. Fix: set them in the recipe's stream section."
            )
        if not 0.0 < self.width <= 4.0:
            raise ValueError(
                f"width is a share of the published channels. Received: width={self.width}. Allowed: above 0, up to 4. "
                "Fix: 1.0 is the published network, 0.25 a small one."
            )
        if not 0.0 <= self.dropout < 1.0:
            raise ValueError(f"dropout must be in [0, 1). Received: dropout={self.dropout}. Fix: 0.5 is the published.")
        smallest = INCEPTION_AUX_MIN_SIZE if self.aux_head else INCEPTION_MIN_SIZE
        if self.size < smallest:
            raise ValueError(
                f"Inception-V3 has no place left in its last layers. Received: size={self.size}, "
                f"aux_head={self.aux_head}. Allowed: at least {INCEPTION_MIN_SIZE}, with the auxiliary head at least "
                f"{INCEPTION_AUX_MIN_SIZE}. Fix: set a larger size, or aux_head=false."
            )
