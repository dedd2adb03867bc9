"""The backbone alone: what ST-ABN is compared with, differing from it by the attention branch and nothing else."""

from torch import Tensor, nn

from models.config import ModelConfig
from models.layers3d import Backbone, check_clip
from models.outputs import StAbnOutput


class Baseline(nn.Module):
    """Extractor and perception branch in a row.

    Args:
        config: the network; `arch` is "baseline".
        backbone: its parts, from `resnet3d` or `c3d` with the same config.
    """

    def __init__(self, config: ModelConfig, backbone: Backbone) -> None:
        super().__init__()
        self.config = config
        self.extractor = backbone.extractor
        self.perception = backbone.perception(backbone.channels)

    def forward(
        self,
        x_BCTHW: Tensor,
        *,
        temporal_override_BT: Tensor | None = None,
        spatial_override_B1THW: Tensor | None = None,
        invert_temporal: bool = False,
        invert_spatial: bool = False,
    ) -> StAbnOutput:
        """Recognise clips; takes ST-ABN's arguments only to refuse them with a reason.

        Args:
            x_BCTHW: normalised RGB clips with exactly `config.frames` frames.
            temporal_override_BT: must be None.
            spatial_override_B1THW: must be None.
            invert_temporal: must be False.
            invert_spatial: must be False.

        Returns:
            Logits; the attention fields are None.

        Raises:
            ValueError: a clip of the wrong shape, or an attention argument.
        """
        given = {
            "temporal_override_BT": temporal_override_BT is not None,
            "spatial_override_B1THW": spatial_override_B1THW is not None,
            "invert_temporal": invert_temporal,
            "invert_spatial": invert_spatial,
        }
        if any(given.values()):
            raise ValueError(
                f"A baseline has no attention to replace. Received: {', '.join(k for k, on in given.items() if on)}. "
                "Allowed: none of them. Fix: use a network with model.arch=st_abn."
            )
        check_clip(x_BCTHW, self.config.frames)
        logits_BK = self.perception(self.extractor(x_BCTHW))
        return StAbnOutput(logits_BK, None, None, None)
