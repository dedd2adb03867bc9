"""From a data set's name to its listing."""

from collections.abc import Callable

from pipeline.core.errors import UserError, problem
from pipeline.data.listing import folder, hmdb51, ssv1, ssv2, ucf101
from pipeline.data.records import Listing

LOADERS: dict[str, Callable[[str, str | None], Listing]] = {
    "ssv2": ssv2.load,
    "ssv1": ssv1.load,
    "ucf101": ucf101.load,
    "hmdb51": hmdb51.load,
    "folder": folder.load,
}


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
