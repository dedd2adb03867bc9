"""How the flow of a data set is made and stored; all of it stands in the flow passport."""

from dataclasses import dataclass, field
from typing import Literal

from pipeline.core.errors import UserError, problem
from pipeline.flow.quantise import BOUND
from pipeline.flow.tvl1 import TvL1Config
from pipeline.flow.tvl1.config import SMALLEST_SIDE


@dataclass(frozen=True, kw_only=True)
class FlowCodec:
    """How one 8-bit plane of flow is stored."""

    format: Literal["jpeg", "png", "found"] = "jpeg"
    """jpeg: grey JPEG, what dense_flow writes. png: no loss, twice the size. found: the bytes of an imported tree."""

    quality: int = 95
    """libjpeg quality, 1 to 100; dense_flow's is OpenCV's default of 95. Of no account for the others."""

    def __post_init__(self) -> None:
        if not 1 <= self.quality <= 100:
            fix = "leave it at 95"
            raise UserError(problem("The JPEG quality is impossible", got=self.quality, allowed="1 to 100", fix=fix))


@dataclass(frozen=True, kw_only=True)
class FlowConfig:
    """How frames become stored flow."""

    tvl1: TvL1Config | None = field(default_factory=TvL1Config)
    """The algorithm; None for imported flow, of which nobody knows."""

    bound: float = BOUND
    """Pixels that level 255 stands for."""

    size: tuple[int, int] | None = None
    """(width, height) to which grey frames are resized first, such as TSN's (340, 256); None keeps the frames' size."""

    codec: FlowCodec = field(default_factory=FlowCodec)

    def __post_init__(self) -> None:
        if self.bound <= 0 or (self.size and min(self.size) < SMALLEST_SIDE):
            allowed = f"a bound over 0 pixels, sides of at least {SMALLEST_SIDE}"
            got = f"bound={self.bound}, size={self.size}"
            raise UserError(problem("The flow is impossible", got=got, allowed=allowed, fix="correct the value"))
