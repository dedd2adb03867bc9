"""Where the maps of a test point, against the object's known place (make_synth); predictions know nothing of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from pipeline.data.feed.place import Place
from pipeline.eval.place import Known, Pointing, point
from pipeline.two_stream.predict import map_column
from pipeline.two_stream.samples import STREAMS, Stream

WHOLE = Place(0.0, 0.0, 1.0, 1.0, False)
"""Maps cover the whole picture."""


@dataclass(frozen=True)
class Pointed:
    """Takes the maps out of predictions as they pass."""

    known: Mapping[str, Known]
    """By video."""
    _rows: dict[Stream, list[dict[str, Any]]] = field(default_factory=lambda: {stream: [] for stream in STREAMS})

    def watch(self, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
        """Yield predictions that were made with `keep_maps`, without their maps."""
        for row in rows:
            at_P = sorted(set(row["places"]))
            for stream in STREAMS:
                map_Phw = row.pop(map_column(stream))
                seen = {"id": row["id"], "idx": at_P, "valid": [True] * len(at_P)}
                self._rows[stream].append(seen | {"spatial": map_Phw, "spatial_shape": map_Phw.shape})
            yield row

    def found(self) -> dict[Stream, Pointing]:
        """Return how the maps of either stream lie on the object, in the frame where a place begins.

        Raises:
            UserError: videos that the truth does not know.
        """
        places = {row["id"]: WHOLE for rows in self._rows.values() for row in rows}
        return {stream: point(rows, self.known, places) for stream, rows in self._rows.items()}
