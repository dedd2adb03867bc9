"""Annotators who are programs: they sign in, claim, save and submit through HTTP like people, from a known truth.

They exercise the whole service without a browser, in tests and in the demo. Their errors are seeded, so a run of one
annotator is repeatable; who gets which clip is not, with several at once.
"""

import threading
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import httpx
import numpy as np
import numpy.typing as npt

from pipeline.annotate.campaign import Campaign
from pipeline.annotate.importing import item_uid
from pipeline.annotate.schema import LEVELS, SPATIAL
from pipeline.core.errors import UserError, problem
from pipeline.data.feed.place import Boxes, covered

Truth = Callable[[Mapping[str, Any]], Sequence[float]]
"""From an Item (as JSON) to the level of every frame of its video."""
Where = Callable[[Mapping[str, Any]], Mapping[int, Sequence[float]]]
"""From an Item to the levels of the 14 x 14 cells, row by row, of every frame in which the person points."""
AGAIN = (429, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How a simulated annotator works."""

    error_rate: float = 0.0
    """Share of frames that get a level drawn at random instead of the true one, and of maps that land elsewhere."""
    saves: int = 1
    """Drafts saved on the way to an answer."""
    pause_s: float = 0.0
    """Between requests."""
    limit: int = 0
    """Clips after which to stop; 0 goes on while there are any."""
    adjudicates: bool = False
    """Settles disagreements too; needs the role of a reviewer."""


@dataclass(frozen=True)
class Done:
    """What a simulated annotator did."""

    items: tuple[str, ...]
    """uids answered, practice included."""
    saves: int
    replayed: int
    """Answers that turned out to be repetitions of an operation already carried out."""


def levels_of(active_V: npt.NDArray[np.bool_], peak: float = 0.25) -> npt.NDArray[np.float32]:
    """Return the levels of a video whose action is known: 0 outside, 0.5 in it, 1 in its middle.

    Args:
        active_V: frames that belong to the action.
        peak: share of the action, in its middle, that matters most; one frame at least.
    """
    levels_V = np.where(active_V, 0.5, 0.0).astype(np.float32)
    frames = np.flatnonzero(active_V)
    if frames.size:
        count = max(1, round(peak * frames.size))
        start = (frames.size - count) // 2
        levels_V[frames[start : start + count]] = 1.0
    return levels_V


def believed(campaign: Campaign, active: Mapping[str, npt.NDArray[np.bool_]]) -> Truth:
    """Return what people believe of the clips of a campaign whose action is known.

    Args:
        campaign: with its clips.
        active: frames that belong to the action, by video.

    Raises:
        UserError: a clip that nothing is known of, or one of another length.
    """
    for item in campaign.items:
        known = active.get(item.video)
        if known is None or len(known) != item.num_frames:
            what, fix = f"The truth does not fit video {item.video}", "use the truth that was made with these videos"
            got = "no entry" if known is None else f"{len(known)} frames"
            raise UserError(problem(what, got=got, allowed=f"{item.num_frames} frames", fix=fix))
    levels = {item_uid(campaign.id, item.video): levels_of(active[item.video]).tolist() for item in campaign.items}
    return lambda item: levels[item["uid"]]


def cells_of(boxes_N4: Boxes) -> list[float]:
    """Return the levels of a frame's cells: 1 where half of a cell or more lies in boxes, 0.5 where less, 0 elsewhere.

    Args:
        boxes_N4: where the object is seen, as shares of the frame; they do not overlap.
    """
    share_P = covered(boxes_N4, SPATIAL, SPATIAL).ravel()
    levels: list[float] = np.where(share_P >= 0.5, 1.0, np.where(share_P > 0, 0.5, 0.0)).tolist()
    return levels


def pointed(
    campaign: Campaign, active: Mapping[str, npt.NDArray[np.bool_]], boxes: Mapping[str, Sequence[Boxes]]
) -> Where:
    """Return where people point in the clips of a campaign: at the object, in the frames of the action.

    In the other frames nothing that happens is worth a look, so that nobody has a reason to point.

    Args:
        campaign: with its clips; `believed` has checked that the truth fits them.
        active: frames that belong to the action, by video.
        boxes: where the object is seen in every frame, by video.
    """
    videos = {item_uid(campaign.id, item.video): item.video for item in campaign.items}

    def where(item: Mapping[str, Any]) -> dict[int, list[float]]:
        video = videos[item["uid"]]
        return {frame: cells_of(boxes[video][frame]) for frame in np.flatnonzero(active[video]).tolist()}

    return where


class Client:
    """One person's connection, which asks again when it hears nothing; the operation id makes that harmless."""

    def __init__(self, address: str, transport: httpx.BaseTransport | None = None, patience_s: float = 30.0) -> None:
        """Talk to the service at `address`, which may be silent for up to `patience_s`."""
        self._patience_s = patience_s
        tls = address.startswith("https:")  # without it, no certificates need to be read
        self._http = httpx.Client(base_url=f"{address}/api/v1", timeout=30.0, transport=transport, verify=tls)
        self.replayed = 0

    def sign_in(self, token: str) -> dict[str, Any]:
        """Exchange an invitation for a session."""
        return self.call("POST", "/session", {"token": token})

    def call(
        self, method: str, path: str, body: Any = None, *, operation: bool = False, **headers: str
    ) -> dict[str, Any]:
        """Send a request until it is answered, and return the answer's JSON.

        Args:
            method: of the request.
            path: below /api/v1.
            body: JSON value.
            operation: give it an id, the same in every repetition.
            headers: further headers, _ for -.

        Raises:
            UserError: the service refuses, or stays silent.
        """
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if operation:
            sent["Operation-Id"] = uuid.uuid4().hex
        deadline, attempt = time.monotonic() + self._patience_s, 0
        while True:
            try:
                answer = self._http.request(method, path, json=body, headers=sent)
            except httpx.TransportError as error:
                fault = str(error) or type(error).__name__
            else:
                if answer.status_code not in AGAIN:
                    return self._value(method, path, answer)
                fault = answer.text
            if time.monotonic() > deadline:
                fix = "look at the service's output"
                raise UserError(problem("The service does not answer", got=fault, allowed="an answer", fix=fix))
            time.sleep(min(1.0, 0.05 * 2**attempt))
            attempt += 1

    def _value(self, method: str, path: str, answer: httpx.Response) -> dict[str, Any]:
        self.replayed += answer.headers.get("Operation-Replayed") == "true"
        if answer.is_error:
            what, fix = f"{method} {path} was refused", "look at the code, listed in pipeline/annotate/errors.py"
            raise UserError(problem(what, got=f"{answer.status_code} {answer.text}", allowed="2xx", fix=fix))
        value: dict[str, Any] = answer.json() if answer.content else {}
        return value

    def close(self) -> None:
        """Close the connection."""
        self._http.close()


def annotate(
    client: Client,
    campaign: str,
    truth: Truth,
    habits: Habits,
    seed: int,
    stop: threading.Event | None = None,
    where: Where | None = None,
) -> Done:
    """Answer clips of a campaign until none is left for this person.

    Args:
        client: signed in.
        campaign: id.
        truth: what the person believes, before errors.
        habits: how the person works.
        seed: of the errors.
        stop: ends after the clip at hand.
        where: where the person points, before errors; asked where the campaign has the spatial layer.
    """
    rng, tab = np.random.default_rng(seed), f"simulated-{seed}"
    items: list[str] = []
    saves = 0
    for mode in ("annotate", "adjudicate") if habits.adjudicates else ("annotate",):
        while not (stop and stop.is_set()) and not 0 < habits.limit <= len(items):
            wish = {"campaign": campaign, "mode": mode, "tab": tab}
            lease = client.call("POST", "/leases", wish, operation=True)["lease"]
            if lease is None:
                break
            item = client.call("GET", f"/items/{lease['item']}?tab={tab}")
            scores = _mistaken(truth(item), habits.error_rate, rng)
            maps = _misplaced(where(item), habits.error_rate, rng) if where and item["spatial"] else {}
            saves += _answer(client, lease, item, scores, maps, habits)
            items.append(item["uid"])
    return Done(tuple(items), saves, client.replayed)


def _mistaken(levels: Sequence[float], error_rate: float, rng: np.random.Generator) -> list[float]:
    drawn_V = rng.choice(LEVELS, size=len(levels))
    wrong_V = rng.random(len(levels)) < error_rate
    return [float(level) for level in np.where(wrong_V, drawn_V, levels)]


def _misplaced(
    maps: Mapping[int, Sequence[float]], error_rate: float, rng: np.random.Generator
) -> dict[int, list[float]]:
    """Move some of the maps to another place; what leaves at one edge comes in at the other."""
    found = {}
    for frame, cells in maps.items():
        wrong, moved_2 = rng.random() < error_rate, rng.integers(1, SPATIAL, size=2)
        map_HW = np.reshape(cells, (SPATIAL, SPATIAL))
        found[frame] = (np.roll(map_HW, moved_2, axis=(0, 1)) if wrong else map_HW).ravel().tolist()
    return found


def _answer(
    client: Client,
    lease: Mapping[str, Any],
    item: Mapping[str, Any],
    scores: list[float],
    maps: Mapping[int, list[float]],
    habits: Habits,
) -> int:
    """Save a growing part of the answer, then submit the whole; returns how often it was saved."""
    path, version, begun = f"/items/{item['uid']}", item["draft"]["version"], time.monotonic()
    for number in range(1, habits.saves + 1):
        known = len(scores) * number // habits.saves
        part = [*scores[:known], *[None] * (len(scores) - known)]
        body = _body(part, {f: cells for f, cells in maps.items() if f < known}, item["init"], begun)
        headers = {"If_Match": str(version), "Lease_Token": lease["token"]}
        version = client.call("PUT", f"{path}/draft", body, operation=True, **headers)["version"]
        time.sleep(habits.pause_s)
    headers = {"If_Match": str(version), "Lease_Token": lease["token"]}
    client.call("POST", f"{path}/submit", _body(scores, maps, item["init"], begun), operation=True, **headers)
    time.sleep(habits.pause_s)
    return habits.saves


def _body(scores: Sequence[float | None], maps: Mapping[int, list[float]], init: str, begun: float) -> dict[str, Any]:
    sources = [None if score is None else "human" for score in scores]
    spatial = [{"frame": frame, "cells": cells} for frame, cells in maps.items()]
    seconds = round(time.monotonic() - begun, 3)
    said = {"scores": scores, "sources": sources, "spatial": spatial}
    return {**said, "init": init, "seconds": seconds, "editor": "simulated"}


def annotate_together(
    address: str,
    invitations: Sequence[str],
    campaign: str,
    truth: Truth,
    habits: Habits,
    seed: int = 0,
    where: Where | None = None,
) -> list[Done]:
    """Let several people annotate a campaign at once until nothing is left for any of them.

    Whoever finds nothing left comes back once after the others have finished: second opinions arise on the way.

    Args:
        address: of the service, such as http://127.0.0.1:8765.
        invitations: a token for each person.
        campaign: id.
        truth: as for `annotate`.
        habits: as for `annotate`.
        seed: of the first person's errors; the others count up from it.
        where: as for `annotate`.
    """
    clients = [Client(address) for _ in invitations]
    for client, token in zip(clients, invitations, strict=True):
        client.sign_in(token)

    def work(number: int) -> Done:
        return annotate(clients[number], campaign, truth, habits, seed + number, where=where)

    try:
        with ThreadPoolExecutor(len(clients)) as pool:
            first = list(pool.map(work, range(len(clients))))
        again = [work(number) for number in range(len(clients))]
    finally:
        for client in clients:
            client.close()
    pairs = zip(first, again, strict=True)
    return [Done(a.items + b.items, a.saves + b.saves, b.replayed) for a, b in pairs]
