"""Test protocols: how many clips of how many frames, how far apart, how many crops; scores are averaged over them."""

import re
from dataclasses import dataclass, replace
from typing import Literal

from pipeline.core.errors import UserError, problem
from pipeline.data.config import ClipConfig, ViewConfig
from pipeline.data.feed.clips import View, views_of


@dataclass(frozen=True, kw_only=True)
class Protocol:
    """One way to test a video. The papers' "32" is one clip; their "32x2" is the mean of two clips' softmax scores."""

    clip: ClipConfig
    view: ViewConfig

    @property
    def name(self) -> str:
        """Short name for tables: frames, clips, and whatever differs from stride 1 and one crop."""
        clips = f"x{self.view.clips}" if self.view.clips > 1 else ""
        stride = f" stride {self.clip.stride}" if self.clip.stride > 1 else ""
        crops = f" {self.view.crops} crops" if self.view.crops > 1 else ""
        sampling = " uniform" if self.clip.sampling == "uniform" else ""
        return f"{self.clip.frames}{clips}{sampling}{stride}{crops}"

    @property
    def views(self) -> tuple[View, ...]:
        """Every view of a video, clip by clip."""
        return views_of(self.view)

    def describe(self) -> str:
        """Say the protocol in full."""
        clip, view = self.clip, self.view
        way = f"{clip.frames} frames, stride {clip.stride}" if clip.sampling == "dense" else f"{clip.frames} segments"
        crops = {1: "centre crop", 3: "three crops along the long side", 10: "ten crops"}[view.crops]
        mean = "" if view.clips * view.crops == 1 else ", mean of the softmax scores"
        return (
            f"{view.clips} clip{'s' if view.clips > 1 else ''} of {way} ({clip.sampling}), short side "
            f"{clip.short_side}, {crops} of {clip.size}{mean}"
        )


def protocol_of(
    trained: ClipConfig, text: str = "", *, stride: int | None = None, crops: Literal[1, 3, 10] = 1
) -> Protocol:
    """Return the protocol that `text` names for a network trained on `trained` clips.

    Args:
        trained: the recipe's clip config.
        text: frames, or frames x clips, such as 32 or 32x2; empty is one clip. The frames must be the network's.
        stride: distance between frames instead of the recipe's.
        crops: crops in space.

    Raises:
        UserError: text that is no protocol, or another number of frames than the network takes.
    """
    match = re.fullmatch(r"(\d+)(?:x([1-9]\d*))?", text or str(trained.frames))
    if match is None or int(match[1]) != trained.frames:
        raise UserError(
            problem(
                "The protocol does not fit the network",
                got=text,
                allowed=f"{trained.frames} or {trained.frames}xN (the mean over N clips), since the network takes "
                f"{trained.frames} frames",
                fix=f"use --protocol {trained.frames} or --protocol {trained.frames}x2",
            )
        )
    clip = trained if stride is None else replace(trained, stride=stride)
    return Protocol(clip=clip, view=ViewConfig(clips=int(match[2] or 1), crops=crops))
