"""ST-ABN: a recogniser that looks where and when its own attention branch points, and lets people point instead.

Source: S0 and S1 of README's "Papers", and Mitsuhara et al. 2021, arXiv:2110.15574. Where they and the authors' code
differ: docs/decisions/0001.

    clip -> extractor -> f -> attention -> Ms, Mt, logits (attention branch)
                         f, Ms, Mt -> [(1 + Ms) f, Mt f] -> merge -> perception -> logits
"""

import torch
from torch import Tensor, nn

from models.config import ModelConfig
from models.layers3d import Backbone, check_clip, conv3d, init_convolutions
from models.outputs import StAbnOutput
from models.st_attention import StAttention


class StAbn(nn.Module):
    """A backbone cut in two, with an attention branch at the cut.

    Submodules: `extractor`, `attention`, `merge`, `perception`; `model.extractor.requires_grad_(False)` freezes the
    extractor's weights.

    Args:
        config: the network; `arch` is "st_abn".
        backbone: its parts, from `resnet3d` or `c3d` with the same config.
    """

    def __init__(self, config: ModelConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        channels_in = backbone.channels * (2 if config.merge == "concat" else 1)
        self.extractor = backbone.extractor
        self.attention = StAttention(config, backbone.attention_stage(), backbone.stage_channels)
        self.merge = _merge(config, backbone.channels)
        self.perception = backbone.perception(channels_in)
        if config.att_stage_init == "copy_stage4":
            self.copy_last_stage()

    def copy_last_stage(self) -> None:
        """Give the attention branch's stage the weights and statistics of the perception branch's."""
        self.attention.stage.load_state_dict(self.perception.get_submodule("stage").state_dict())

    def forward(
        self,
        x_BCTHW: Tensor,
        *,
        temporal_override_BT: Tensor | None = None,
        spatial_override_B1THW: Tensor | None = None,
        invert_temporal: bool = False,
        invert_spatial: bool = False,
    ) -> StAbnOutput:
        """Recognise clips; an override replaces an attention, an inversion then takes 1 minus it.

        Args:
            x_BCTHW: normalised RGB clips with exactly `config.frames` frames.
            temporal_override_BT: Mt to use instead of the network's, values in [0, 1] (a person's edit).
            spatial_override_B1THW: Ms to use instead of the network's, values in [0, 1].
            invert_temporal: use 1 - Mt, so (1 - Mt) f.
            invert_spatial: use 1 - Ms, so (2 - Ms) f: the residual 1 stays.

        Returns:
            Logits of both branches and the attention as used.

        Raises:
            ValueError: a clip or an override of the wrong shape.
        """
        check_clip(x_BCTHW, self.config.frames)
        f_BCTHW = self.extractor(x_BCTHW)
        att_logits_BK, spatial_B1THW, temporal_B1T11 = self.attention(
            f_BCTHW, temporal_override_BT, spatial_override_B1THW
        )
        if invert_spatial:
            spatial_B1THW = 1 - spatial_B1THW
        if invert_temporal:
            temporal_B1T11 = 1 - temporal_B1T11
        attended_BCTHW = self.merge(attend(f_BCTHW, spatial_B1THW, temporal_B1T11))
        return StAbnOutput(self.perception(attended_BCTHW), att_logits_BK, spatial_B1THW, temporal_B1T11)


def attend(f_BCTHW: Tensor, spatial_B1THW: Tensor, temporal_B1T11: Tensor) -> Tensor:
    """The attention mechanism: [(1 + Ms) f, Mt f] on the channel axis, B,2C,T,H,W in the type of f.

    Spatial attention adds to what is there (its neutral value is 0); temporal attention can mute a frame altogether
    (its neutral value is 1).
    """
    spatial_BCTHW = f_BCTHW * (1 + spatial_B1THW).to(f_BCTHW.dtype)
    temporal_BCTHW = f_BCTHW * temporal_B1T11.to(f_BCTHW.dtype)
    return torch.cat((spatial_BCTHW, temporal_BCTHW), dim=1)


def _merge(config: ModelConfig, channels: int) -> nn.Module:
    if config.merge == "concat":
        return nn.Identity()
    merge = nn.Sequential(conv3d(2 * channels, channels, (1, 1, 1)), nn.BatchNorm3d(channels))
    if config.merge == "conv_bn_relu":
        merge.append(nn.ReLU(inplace=True))
    init_convolutions(merge)
    return merge
