"""The first weights of a run: random, ImageNet's inflated, or a published checkpoint."""

from models.baseline import Baseline
from models.inflate import inflate, read_imagenet2d
from models.published import load_published, read_published
from models.st_abn import StAbn
from pipeline.train.recipe import InitConfig


def first_weights(module: Baseline | StAbn, init: InitConfig, *, log: bool) -> None:
    """Give a freshly built network the weights that the recipe starts from.

    Args:
        module: with randomly drawn weights; changed in place.
        init: where the weights come from.
        log: say what was copied, skipped and kept.

    Raises:
        ValueError: the file is absent, or belongs to another network.
    """
    if init.source == "random":
        return
    if init.source == "imagenet2d":
        report = inflate(module, read_imagenet2d(module.config.depth, init.path))
    else:
        report = load_published(module, read_published(init.path))
    if log:
        print(f"first weights from {init.path or init.source}: {report}", flush=True)
