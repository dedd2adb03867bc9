"""Overrides reach the right field with the right type, and mistakes are named."""

import pytest

from pipeline.core.config import from_dict, override, to_dict
from pipeline.core.errors import UserError
from pipeline.train.recipe import Recipe


def test_round_trip_through_a_dictionary_is_the_identity():
    recipe = Recipe(name="r")
    assert from_dict(Recipe, to_dict(recipe)) == recipe


def test_overrides_parse_numbers_lists_and_strings():
    recipe = override(
        Recipe(name="r"),
        [
            "optim.lr=1",
            "optim.milestones=[10,20]",
            "data.root=s3://bucket/x",
            "train.compile=true",
            "expected.top1=null",
        ],
    )
    assert recipe.optim.lr == 1.0
    assert isinstance(recipe.optim.lr, float)
    assert recipe.optim.milestones == (10.0, 20.0)
    assert recipe.data.root == "s3://bucket/x"
    assert recipe.train.compile is True
    assert recipe.expected.top1 is None


@pytest.mark.parametrize(
    ("assignment", "words"),
    [
        ("optim.lrr=1", ["optim.lrr", "optim.lr", "did you mean"]),
        ("optim.lr", ["section.key=value"]),
        ("optim.lr=fast", ["optim.lr", "float"]),
        ("train.compile=1", ["train.compile", "bool"]),
        ("model.merge=sum", ["model.merge", "conv_bn_relu"]),
        ("augment.area=[0.1]", ["augment.area", "2 values"]),
        ("model=3", ["model", "section"]),
        ("model.dropout=1.5", ["dropout must be in [0, 1)", "1.5", "Fix: set model.dropout"]),
        ("model.classes=1", ["classes, frames and width must be at least 2, 1, 1", "classes=1"]),
        ("augment.flip=2", ["augmentation", "flip=2.0", "flip 0 to 1"]),
    ],
)
def test_a_wrong_override_names_what_was_wrong(assignment, words):
    with pytest.raises(UserError) as error:
        override(Recipe(name="r"), [assignment])
    for word in words:
        assert word in str(error.value)


def test_cross_field_checks_name_both_fields():
    with pytest.raises(UserError, match=r"clip\.frames=8, model\.frames=32"):
        override(Recipe(name="r"), ["clip.frames=8"])
    with pytest.raises(UserError, match=r"train\.global_batch=64, compute\.workers=3"):
        override(Recipe(name="r"), ["compute.workers=3"])
