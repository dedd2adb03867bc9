"""Pictures of items: frame i is frame i of the prepared data set, where training reads it too.

A client names an item and a number, never a file: the item's video is looked up in the catalog that the data set's
manifest vouches for. In stored size a frame is sent as it lies in the shard, so a browser decodes the very bytes that
training decodes; smaller ones are decoded as training does, resized and encoded again. Legend: V video frame.
"""

import asyncio
import threading
from collections import OrderedDict
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import sqlalchemy as sa

from pipeline.annotate.database import Database
from pipeline.annotate.errors import RefusedError
from pipeline.annotate.tables import campaigns
from pipeline.annotate.views import STRIP_COLUMNS
from pipeline.core.errors import UserError, problem
from pipeline.data.records import EncodedVideo
from pipeline.data.store.catalog import READABLE, CatalogRow
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.store.shards import Codec, decode_frames, encode_frame, read_video

SMALL = Codec(quality=88, sampling="4:2:0")
"""Of thumbnails; the stored frames are better."""
LIMIT_S = 30.0


@dataclass(frozen=True)
class _Catalog:
    root: str
    rows: Mapping[str, CatalogRow]


class Pictures:
    """Makes pictures in a few threads, with a bounded queue before them and a bounded cache behind them."""

    def __init__(
        self, database: Database, *, workers: int = 2, waiting: int = 256, cache_bytes: int = 64 << 20
    ) -> None:
        """Open nothing yet: a campaign's data set is opened with its first picture.

        Args:
            database: where campaigns say where their data lies.
            workers: threads; OpenCV works outside Python's lock.
            waiting: pictures asked for at the same time before more are refused as busy.
            cache_bytes: of finished pictures.
        """
        self._database = database
        self._pool = ThreadPoolExecutor(workers, thread_name_prefix="pictures")
        self._waiting, self._asked = waiting, 0
        self._cache_bytes, self._held = cache_bytes, 0
        self._cache: OrderedDict[tuple[str, int, int], bytes] = OrderedDict()
        self._catalogs: dict[str, _Catalog] = {}
        self._lock = threading.Lock()

    async def frame(self, item: Any, index: int, width: int) -> bytes:
        """Return frame `index` of an item as JPEG.

        Args:
            item: row of `items`.
            index: from 0.
            width: pixels; 0 is the stored size.

        Raises:
            RefusedError: not_found, the video has fewer frames; busy.
        """
        if not 0 <= index < item.num_frames:
            raise RefusedError("not_found", f"the video has {item.num_frames} frames, from 0")
        return await self._made((item.uid, index, width), lambda: self._frame(item, index, width))

    async def strip(self, item: Any, width: int) -> bytes:
        """Return all frames of an item in one JPEG, STRIP_COLUMNS in a row; arguments and refusals as of `frame`."""
        return await self._made((item.uid, -1, width), lambda: self._strip(item, width))

    async def _made(self, key: tuple[str, int, int], make: Callable[[], bytes]) -> bytes:
        with self._lock:
            if key in self._cache:
                self._cache.move_to_end(key)
                return self._cache[key]
            if self._asked >= self._waiting:
                raise RefusedError("busy", "too many pictures are being made", retry_after_s=1)
            self._asked += 1
        work = asyncio.get_running_loop().run_in_executor(self._pool, make)
        # Counted until the work ends, not until the client stops waiting for it.
        work.add_done_callback(lambda _: self._ended())
        try:
            data = await asyncio.wait_for(asyncio.shield(work), LIMIT_S)
        except TimeoutError as error:
            raise RefusedError("busy", "the picture takes too long", retry_after_s=5) from error
        self._remember(key, data)
        return data

    def _ended(self) -> None:
        with self._lock:
            self._asked -= 1

    def _remember(self, key: tuple[str, int, int], data: bytes) -> None:
        with self._lock:
            if key not in self._cache:
                self._cache[key] = data
                self._held += len(data)
            while self._held > self._cache_bytes:
                self._held -= len(self._cache.popitem(last=False)[1])

    def _frame(self, item: Any, index: int, width: int) -> bytes:
        video = self.video(item)
        if width in (0, item.width) or width > item.width:
            return bytes(video.jpeg_V[index])
        return encode_frame(_small(decode_frames(video, [index])[0], width), SMALL)

    def _strip(self, item: Any, width: int) -> bytes:
        video = self.video(item)
        cells = [
            _small(decode_frames(video, [index])[0], min(width or item.width, item.width))
            for index in range(item.num_frames)
        ]
        height, across = cells[0].shape[:2]
        rows = -(-len(cells) // STRIP_COLUMNS)
        sprite_HWC = np.zeros((rows * height, min(len(cells), STRIP_COLUMNS) * across, 3), np.uint8)
        for index, cell_HWC in enumerate(cells):
            y, x = index // STRIP_COLUMNS * height, index % STRIP_COLUMNS * across
            sprite_HWC[y : y + height, x : x + across] = cell_HWC
        return encode_frame(sprite_HWC, SMALL)

    def video(self, item: Any) -> EncodedVideo:
        """Return an item's video from its campaign's prepared data set."""
        catalog = self._catalog(item.campaign)
        row = catalog.rows[item.video]
        return read_video(catalog.root, row.shard, row.row)

    def _catalog(self, campaign: str) -> _Catalog:
        with self._lock:
            if campaign in self._catalogs:
                return self._catalogs[campaign]
        with self._database.read() as connection:
            row = connection.execute(sa.select(campaigns).where(campaigns.c.id == campaign)).one()
        dataset = PreparedDataset.open(row.root)
        if dataset.passport != row.facts["passport"]:
            what = f"The data set at {row.root} changed since campaign {campaign} was imported"
            got, allowed = f"passport {dataset.passport}", f"passport {row.facts['passport']}"
            raise UserError(problem(what, got=got, allowed=allowed, fix="prepare the former data set again"))
        catalog = _Catalog(dataset.root, {r.id: r for r in dataset.rows if r.status == READABLE})
        with self._lock:
            return self._catalogs.setdefault(campaign, catalog)

    def check(self, campaign: str) -> None:
        """Open a campaign's data set now, so that a wrong one is an error at the start and not in front of people."""
        self._catalog(campaign)

    def close(self) -> None:
        """End the threads; pictures that nobody has begun are dropped."""
        self._pool.shutdown(wait=True, cancel_futures=True)


def _small(frame_HWC: npt.NDArray[np.uint8], width: int) -> npt.NDArray[np.uint8]:
    """Return a frame in a smaller width, by the mean of the pixels that fall together."""
    height = max(1, round(width * frame_HWC.shape[0] / frame_HWC.shape[1]))
    if width == frame_HWC.shape[1]:
        return frame_HWC
    small_hwC: npt.NDArray[np.uint8] = cv2.resize(frame_HWC, (width, height), interpolation=cv2.INTER_AREA)
    return small_hwC
