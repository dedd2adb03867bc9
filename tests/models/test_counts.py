"""Every published network has exactly its published number of parameters, part by part."""

import pytest
import torch
from torch import nn

from models import ModelConfig, build_model
from models.resnet3d import BLOCKS


def count(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def on_meta(**fields) -> nn.Module:
    with torch.device("meta"):
        return build_model(ModelConfig(**fields))


@pytest.mark.parametrize(("depth", "parameters"), [(50, 55_665_928), (101, 83_570_952)])
def test_st_abn_has_the_parameters_of_the_authors_network(depth, parameters):
    assert count(on_meta(arch="st_abn", depth=depth)) == parameters


@pytest.mark.parametrize(("depth", "parameters"), [(50, 31_991_022), (101, 59_896_046)])
def test_baseline_is_the_slow_pathway(depth, parameters):
    assert count(on_meta(arch="baseline", depth=depth)) == parameters


def test_parts_of_st_abn_sum_to_the_whole():
    model = on_meta()
    parts = {name: count(part) for name, part in model.named_children()}
    assert parts == {
        "extractor": 11_426_880,
        "attention": 21_575_706,
        "merge": 2_099_200,
        "perception": 20_207_616 + 356_526,
    }


def test_freezing_the_extractor_is_one_line_and_leaves_the_published_trainable_count():
    model = on_meta()
    model.extractor.requires_grad_(False)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == 44_239_048


def test_stages_of_the_resnet_50_extractor():
    extractor = on_meta(arch="baseline").extractor
    assert {name: count(part) for name, part in extractor.named_children()} == {
        "stem": 9_408 + 128,
        "stage1": 215_808,
        "stage2": 1_219_584,
        "stage3": 9_981_952,
    }


@pytest.mark.parametrize("depth", [18, 34, 50, 101])
def test_depth_counts_the_convolutions_on_the_longest_path_and_the_classifier(depth):
    block, counts = BLOCKS[depth]
    convolutions = {1: 2, 4: 3}[block.expansion]
    assert 1 + convolutions * sum(counts) + 1 == depth


@pytest.mark.parametrize(("classes", "parameters"), [(51, 78_204_723), (101, 78_409_573), (487, 79_991_015)])
def test_c3d_has_the_published_parameters(classes, parameters):
    """HMDB-51, UCF-101 and Sports-1M; sums that public ports of the Caffe network print."""
    model = on_meta(arch="baseline", backbone="c3d", classes=classes, frames=16)
    assert count(model) == parameters


def test_class_head_is_the_only_difference_between_attention_heads():
    linear, gap = on_meta(att_head="linear"), on_meta(att_head="gap")
    assert count(linear) - count(gap) == 174 * 32 * 174 + 174


def test_concat_drops_the_merge_and_widens_the_first_block():
    merged, literal = on_meta(merge="conv_bn"), on_meta(merge="concat")
    widened = 1024 * 512 * 3 + 1024 * 2048
    assert count(literal) - count(merged) == widened - 2_099_200


@pytest.mark.parametrize(
    ("depth", "width", "parameters"), [(12, 96, 28_158_070), (24, 96, 49_816_678), (24, 128, 88_048_984)]
)
def test_the_transformer_has_torchvisions_parameters_but_for_the_second_frame_of_a_patch(depth, width, parameters):
    model = on_meta(arch="baseline", backbone="swin3d", depth=depth, width=width, classes=400)
    assert count(model) == parameters - 3 * 4 * 4 * width
