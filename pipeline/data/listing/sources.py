"""From a data set's name to its listing, and whether the listed files are there."""

import posixpath
from collections import defaultdict
from collections.abc import Callable

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.data.listing import folder, hmdb51, ssv1, ssv2, ucf101
from pipeline.data.listing.official import entries
from pipeline.data.records import Listing, VideoRecord

LOADERS: dict[str, Callable[[str, str | None], Listing]] = {
    "ssv2": ssv2.load,
    "ssv1": ssv1.load,
    "ucf101": ucf101.load,
    "hmdb51": hmdb51.load,
    "folder": folder.load,
}
SHOWN = 5
"""Missing files that an error message names."""


def load_listing(name: str, root: str, *, metadata: str | None = None) -> Listing:
    """List a data set from its official files; videos are neither opened nor needed.

    Args:
        name: ssv2, ssv1, ucf101, hmdb51 or folder.
        root: folder or URI of the videos (or around the publishers' own folder of them).
        metadata: folder or URI of the official files when they are not below `root`.

    Raises:
        UserError: an unknown name, or what the data set's own parser refuses.
    """
    if name not in LOADERS:
        raise UserError(
            problem("The data set is unknown", got=name, allowed=", ".join(LOADERS), fix="use one of these names")
        )
    return LOADERS[name](root, metadata)


def missing_files(listing: Listing) -> tuple[VideoRecord, ...]:
    """Records whose file or frame folder does not exist, in listed order.

    Every folder that holds videos is listed once, which on object storage is far cheaper than one request a video.
    """
    by_folder: dict[str, list[VideoRecord]] = defaultdict(list)
    for record in listing.records:
        by_folder[posixpath.dirname(record.path)].append(record)
    missing: set[str] = set()
    for name, records in by_folder.items():
        present = entries(storage.join(listing.root, name) if name else listing.root)
        missing.update(record.id for record in records if posixpath.basename(record.path) not in present)
    return tuple(record for record in listing.records if record.id in missing)


def require_files(listing: Listing) -> None:
    """Refuse a listing some of whose videos are absent.

    Raises:
        UserError: names how many are missing and the first of them.
    """
    missing = missing_files(listing)
    if missing:
        first = ", ".join(record.path for record in missing[:SHOWN])
        raise UserError(
            problem(
                f"{len(missing)} of {len(listing.records)} listed videos of {listing.name} are missing",
                got=f"below {listing.root} without {first}{' ...' if len(missing) > SHOWN else ''}",
                allowed="every listed video present",
                fix="complete the download or point root at the folder that holds the videos",
            )
        )
