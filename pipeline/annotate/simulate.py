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
from pipeline.annotate.schema import LEVELS
from pipeline.core.errors import UserError, problem

Truth = Callable[[Mapping[str, Any]], Sequence[float]]
"""From an Item (as JSON) to the level of every frame of its video."""
AGAIN = (429, 502, 503, 504)


@dataclass(frozen=True, kw_only=True)
class Habits:
    """How a simulated annotator works."""

    error_rate: float = 0.0
    """Share of frames that get a level drawn at random instead of the true one."""
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
    client: Client, campaign: str, truth: Truth, habits: Habits, seed: int, stop: threading.Event | None = None
) -> Done:
    """Answer clips of a campaign until none is left for this person.

    Args:
        client: signed in.
        campaign: id.
        truth: what the person believes, before errors.
        habits: how the person works.
        seed: of the errors.
        stop: ends after the clip at hand.
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
            saves += _answer(client, lease, item, _mistaken(truth(item), habits.error_rate, rng), habits)
            items.append(item["uid"])
    return Done(tuple(items), saves, client.replayed)


def _mistaken(levels: Sequence[float], error_rate: float, rng: np.random.Generator) -> list[float]:
    drawn_V = rng.choice(LEVELS, size=len(levels))
    wrong_V = rng.random(len(levels)) < error_rate
    return [float(level) for level in np.where(wrong_V, drawn_V, levels)]


def _answer(
    client: Client, lease: Mapping[str, Any], item: Mapping[str, Any], scores: list[float], habits: Habits
) -> int:
    """Save a growing part of the answer, then submit the whole; returns how often it was saved."""
    path, version, begun = f"/items/{item['uid']}", item["draft"]["version"], time.monotonic()
    for number in range(1, habits.saves + 1):
        known = len(scores) * number // habits.saves
        part = [*scores[:known], *[None] * (len(scores) - known)]
        body = _body(part, item["init"], begun)
        headers = {"If_Match": str(version), "Lease_Token": lease["token"]}
        version = client.call("PUT", f"{path}/draft", body, operation=True, **headers)["version"]
        time.sleep(habits.pause_s)
    headers = {"If_Match": str(version), "Lease_Token": lease["token"]}
    client.call("POST", f"{path}/submit", _body(scores, item["init"], begun), operation=True, **headers)
    time.sleep(habits.pause_s)
    return habits.saves


def _body(scores: Sequence[float | None], init: str, begun: float) -> dict[str, Any]:
    sources = [None if score is None else "human" for score in scores]
    seconds = round(time.monotonic() - begun, 3)
    return {"scores": scores, "sources": sources, "init": init, "seconds": seconds, "editor": "simulated"}


def annotate_together(
    address: str, invitations: Sequence[str], campaign: str, truth: Truth, habits: Habits, seed: int = 0
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
    """
    clients = [Client(address) for _ in invitations]
    for client, token in zip(clients, invitations, strict=True):
        client.sign_in(token)

    def work(number: int) -> Done:
        return annotate(clients[number], campaign, truth, habits, seed + number)

    try:
        with ThreadPoolExecutor(len(clients)) as pool:
            first = list(pool.map(work, range(len(clients))))
        again = [work(number) for number in range(len(clients))]
    finally:
        for client in clients:
            client.close()
    pairs = zip(first, again, strict=True)
    return [Done(a.items + b.items, a.saves + b.saves, b.replayed) for a, b in pairs]
