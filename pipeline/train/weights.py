"""The first weights of a run: random, ImageNet's inflated, Kinetics' of a transformer, or a published checkpoint."""

import contextlib
import os
import tempfile
from collections.abc import Iterator

from models.baseline import Baseline
from models.inflate import ImportReport, inflate, read_imagenet2d
from models.published import load_published, read_published
from models.st_abn import StAbn
from models.swin_weights import load_kinetics, read_kinetics
from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.train.recipe import InitConfig


def first_weights(module: Baseline | StAbn, init: InitConfig, *, log: bool) -> None:
    """Give a freshly built network the weights that the recipe starts from.

    Args:
        module: with randomly drawn weights; changed in place.
        init: where the weights come from.
        log: say what was copied, skipped and kept.

    Raises:
        UserError: the weights cannot be read, or belong to another network.
    """
    if init.source == "random":
        return
    with local_copy(init.path) as path:
        try:
            report = _import(module, init, path)
        except ValueError as error:
            text = str(error)
            raise UserError(text.replace(path, init.path) if path else text) from error
    if log:
        print(f"first weights from {init.path or init.source}: {report}", flush=True)


def _import(module: Baseline | StAbn, init: InitConfig, path: str) -> ImportReport:
    if init.source == "imagenet2d":
        return inflate(module, read_imagenet2d(module.config.depth, path))
    if init.source == "kinetics400":
        return load_kinetics(module, read_kinetics(module.config, path))
    return load_published(module, read_published(path))


@contextlib.contextmanager
def local_copy(path: str) -> Iterator[str]:
    """Yield a local copy of a file in an object store; a local path and an http(s) URL stay as they are.

    Raises:
        UserError: the object cannot be read.
    """
    if storage.is_local(path) or path.startswith(("http://", "https://")):
        yield path.removeprefix("file://")
        return
    try:
        data = storage.read_bytes(path)
    except OSError as error:  # absent, no permission, or no connection
        what = f"The weights cannot be read ({str(error).strip()[:300]})"
        fix = "check init.path and the credentials in the environment"
        raise UserError(problem(what, got=path, allowed="a path or URI of a file of weights", fix=fix)) from error
    with tempfile.TemporaryDirectory() as folder:
        copy = os.path.join(folder, "weights")
        with open(copy, "wb") as file:
            file.write(data)
        yield copy
