"""What-if: the network's answer to a clip when people's temporal attention takes the place of its own.

The service runs without a network and then does not offer this. With one, questions wait in a short queue, one of a
person at a time, and the same question is answered once.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from pipeline.annotate.errors import RefusedError
from pipeline.annotate.frames import Pictures
from pipeline.annotate.schema_items import Outcome, WhatIfAnswer
from pipeline.annotate.views import predictions
from pipeline.core import storage
from pipeline.data.records import EncodedVideo

WAITING = 32
REMEMBERED = 4096
BEST = 5


class Network(Protocol):
    """A network that takes temporal attention from outside."""

    def scores(
        self, video: EncodedVideo, window: tuple[int, int, int], attention_V: npt.NDArray[np.float32] | None
    ) -> npt.NDArray[np.float64]:
        """Return softmax scores of all classes, shape (K,).

        Args:
            video: the whole video.
            window: start, stop, stride of the clip.
            attention_V: a value for every frame of the video; None leaves the network's own.
        """


class WhatIfDesk:
    """Answers questions, one after the other."""

    def __init__(self, network: Network, pictures: Pictures) -> None:
        """Answer with `network`, reading videos through `pictures`."""
        self._network, self._pictures = network, pictures
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="whatif")
        self._asking: set[str] = set()
        self._known: OrderedDict[tuple[str, str], npt.NDArray[np.float64]] = OrderedDict()
        self._lock = threading.Lock()

    async def ask(self, user: str, item: Any, scores: Sequence[float | None], texts: Sequence[str]) -> WhatIfAnswer:
        """Compare the network's own answer with the one under edited attention.

        Args:
            user: who asks.
            item: row of `items`.
            scores: one for every video frame; the network's own value is used where None.
            texts: class texts.

        Raises:
            RefusedError: slow_down, the person's last question is not answered yet; busy, too many people ask.
        """
        with self._lock:
            if user in self._asking:
                raise RefusedError("slow_down", "one question at a time", retry_after_s=1)
            if len(self._asking) >= WAITING:
                raise RefusedError("busy", "too many what-ifs wait", retry_after_s=5)
            self._asking.add(user)
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._answer, item, list(scores))
        work.add_done_callback(lambda _: self._ended(user))
        before_K, after_K = await asyncio.shield(work)
        return WhatIfAnswer(before=_outcome(before_K, item.label, texts), after=_outcome(after_K, item.label, texts))

    def _ended(self, user: str) -> None:
        with self._lock:
            self._asking.discard(user)

    def _answer(self, item: Any, scores: list[float | None]) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
        own = item.facts["attention"]
        edited_V = np.asarray([a if s is None else s for s, a in zip(scores, own, strict=True)], np.float32)
        nothing = all(score is None for score in scores)
        return self._scores(item, None), self._scores(item, None if nothing else edited_V)

    def _scores(self, item: Any, attention_V: npt.NDArray[np.float32] | None) -> npt.NDArray[np.float64]:
        key = (item.uid, storage.sha256_json(None if attention_V is None else attention_V.tolist()))
        if key not in self._known:
            window = item.facts["window"]
            video = self._pictures.video(item)
            self._known[key] = self._network.scores(video, (window[0], window[1], window[2]), attention_V)
            if len(self._known) > REMEMBERED:
                self._known.popitem(last=False)
        return self._known[key]

    def close(self) -> None:
        """Finish the question at hand and drop the others."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _outcome(scores_K: npt.NDArray[np.float64], label: int, texts: Sequence[str]) -> Outcome:
    order_K = np.argsort(-scores_K, kind="stable")
    best = order_K[:BEST].tolist()
    return Outcome(
        top5=predictions(best, scores_K[best].tolist(), texts),
        true_score=float(scores_K[label]),
        true_rank=int(np.flatnonzero(order_K == label)[0]) + 1,
    )
