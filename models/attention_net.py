"""The attention net: a stream's features to the map that Grad-CAM would give for the true class, without a label.

Source: the two-stream thesis (S3), figure of the attention network: convolution, batch norm, ReLU, convolution, sigmoid
at the features' resolution. It gives neither kernel sizes nor the hidden width: docs/decisions/0007.
"""

from typing import Literal

import torch
from torch import Tensor, nn


class AttentionNet(nn.Module):
    """Features of one stream's last layer to one map.

    Args:
        channels: of the features; `StreamNet.feature_channels`.
        hidden: channels between the two convolutions.
        kernel: of the second convolution; the first is always 3x3.
    """

    def __init__(self, channels: int = 2048, hidden: int = 512, kernel: Literal[1, 3] = 3) -> None:
        super().__init__()
        self.channels = channels
        self.conv1 = nn.Conv2d(channels, hidden, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(hidden)
        self.relu = nn.ReLU(inplace=True)
        self.conv2 = nn.Conv2d(hidden, 1, kernel, padding=kernel // 2)
        nn.init.kaiming_normal_(self.conv1.weight, mode="fan_out", nonlinearity="relu")
        nn.init.normal_(self.conv2.weight, std=0.01)
        nn.init.zeros_(self.conv2.bias)  # type: ignore[arg-type]

    def logits(self, features_NChw: Tensor) -> Tensor:
        """Score every place, before the sigmoid: what binary cross-entropy with logits compares with a map.

        Args:
            features_NChw: from `StreamNet.features`.

        Returns:
            logits_Nhw, at least float32.

        Raises:
            ValueError: features of another shape.
        """
        if features_NChw.dim() != 4 or features_NChw.shape[1] != self.channels:
            raise ValueError(
                f"The attention net was built for other features. Received: shape {tuple(features_NChw.shape)}. "
                f"Allowed: N,{self.channels},h,w. Fix: build it with the stream's feature_channels."
            )
        logits_N1hw = self.conv2(self.relu(self.bn(self.conv1(features_NChw))))
        # In bf16 a sigmoid is exactly 1 from about 6.3 on, and then has no gradient left.
        logits_Nhw: Tensor = logits_N1hw[:, 0].to(torch.promote_types(logits_N1hw.dtype, torch.float32))
        return logits_Nhw

    def forward(self, features_NChw: Tensor) -> Tensor:
        """Return map_Nhw in (0, 1), at least float32."""
        return torch.sigmoid(self.logits(features_NChw))
