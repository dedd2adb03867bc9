"""A recipe of impossible numbers is refused when it is made, wherever the numbers come from."""

import pytest

from pipeline.core.config import override
from pipeline.core.errors import UserError
from pipeline.train.recipe import Recipe


@pytest.mark.parametrize(
    "assignment",
    [
        "compute.workers=0",
        "compute.threads=0",
        "compute.cpus_per_worker=-0.5",
        "compute.data_cpus=-1",
        "compute.prefetch=-1",
        "compute.max_failures=-1",
        "train.epochs=0",
        "train.global_batch=0",
        "train.accumulate=0",
        "train.seed=-1",
        "train.eval_every=-1",
        "train.checkpoint_minutes=-1",
        "train.agree_every=0",
        "train.keep=0",
        "train.nonfinite_limit=-1",
        "train.log_every=0",
        "train.max_steps=-1",
        "optim.lr=-0.1",
        "optim.lr=NaN",
        "optim.reference_batch=-1",
        "optim.warmup_epochs=-1",
        "optim.clip_norm=-1",
    ],
)
def test_a_number_out_of_range_is_named(assignment):
    field, _, value = assignment.partition("=")
    with pytest.raises(UserError, match=rf"^{field} is out of range\. Received: {field}={value.lower()}"):
        override(Recipe(name="r"), [assignment])


def test_the_least_values_are_accepted():
    numbers = ["train.agree_every=1", "train.log_every=1", "train.checkpoint_minutes=0", "compute.data_cpus=0"]
    numbers += ["optim.momentum=0", "optim.nesterov=false", "train.eval_every=0", "compute.max_failures=0"]
    assert override(Recipe(name="r"), numbers).compute.data_cpus == 0
