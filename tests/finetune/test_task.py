"""Fine-tuning on edits: what moves, what stays to the bit, and what the temporal term is worth."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models import build_model
from models.config import ModelConfig
from pipeline.core.config import from_dict, override, to_dict
from pipeline.core.errors import UserError
from pipeline.data.store.prepared import PreparedDataset
from pipeline.eval.load import recipe_of
from pipeline.finetune.recipe import FinetuneRecipe, derive
from pipeline.finetune.task import EditTask, masked_mse_sum
from pipeline.train import checkpoint
from pipeline.train.clip_task import answer
from pipeline.train.feeding import PreparedFeed
from pipeline.train.optim import build_optimizer
from pipeline.train.recipe import Recipe
from pipeline.train.step import train_step
from pipeline.train.validate import validate
from pipeline.train.worker import freeze

PROGRAM = Path(__file__).parent / "programs" / "two_ranks.py"


@pytest.fixture
def task(recipe_from, sealed, row):
    """Edits of train-0: all of it 1.0."""
    return EditTask(recipe_from(sealed(row("train-0", 12, 0, scores=(1.0,) * 12))))


@pytest.fixture(params=["resnet3d", "swin3d"])
def hosted(request, recipe_from, sealed, row, tiny_checkpoint, make_checkpoint):
    """The same on either host, and the checkpoint that it starts from."""
    base = tiny_checkpoint
    if request.param == "swin3d":
        recipe = recipe_of(checkpoint.read(tiny_checkpoint))
        model = replace(recipe.model, backbone="swin3d", depth=8, stochastic_depth=0.2)
        torch.manual_seed(0)
        base = make_checkpoint(recipe=to_dict(replace(recipe, model=model)), model=build_model(model).state_dict())
    return EditTask(recipe_from(sealed(row("train-0", 12, 0, scores=(1.0,) * 12)), base=base)), base


def started(task):
    module = task.build()
    task.first_weights(module, log=False)
    task.train_mode(module)
    return module, freeze(task, module)


def test_after_fine_tuning_all_extractor_weights_and_buffers_are_bit_identical(hosted, settings):
    """Two epochs of the real feed, with a validation in between, which puts modules into eval and train mode."""
    task, start = hosted
    recipe = override(task.recipe, ["compute.data_cpus=0", "train.epochs=2"])
    feed = PreparedFeed(recipe)
    module, trained = started(task)
    optimizer, batches = build_optimizer(trained, recipe.optim), feed.train(0, 0, 1)
    for _ in range(feed.plan.total_steps):
        assert train_step(task, module, optimizer, batches, 0.1, settings()).applied
        validate(task, module, feed.validation(0, 1), feed.validation_videos, settings())
    base = checkpoint.read(start).model
    moved = {name for name, value in module.state_dict().items() if not torch.equal(value, base[name])}
    assert not {name for name in moved if name.startswith("extractor.")}
    others = {name for name in base if not name.startswith("extractor.")}
    assert {name for name in others - moved if not name.endswith(("bias", "relative_position_index"))} == set()
    assert {name.split(".")[0] for name in moved} == {"attention", "merge", "perception"}


def test_train_mode_leaves_the_extractor_frozen_and_out_of_the_optimiser(hosted):
    task, _ = hosted
    module, trained = started(task)
    module.train()
    assert module.extractor.training
    task.train_mode(module)
    assert not any(part.training for part in module.extractor.modules())
    assert all(part.training for top in (module.attention, module.merge, module.perception) for part in top.modules())
    optimised = {id(p) for p in trained}
    assert not optimised & {id(p) for p in module.extractor.parameters()}
    assert not any(p.requires_grad for p in module.extractor.parameters())
    assert len(optimised) + len(list(module.extractor.parameters())) == len(list(module.parameters()))


def test_the_published_network_freezes_and_trains_as_many_weights_as_published(task):
    """S0's ResNet-50 on 174 classes and 32 frames."""
    with torch.device("meta"):
        module = build_model(ModelConfig())
    assert sum(p.numel() for p in task.parameters(module)) == 44_239_048
    assert sum(p.numel() for p in module.extractor.parameters()) == 11_426_880


def test_the_whole_training_split_is_trained_on_and_clips_without_edits_have_the_other_losses(
    task, make_batch, settings
):
    feed = PreparedFeed(task.recipe)
    assert feed.plan.samples == 2
    assert len(task.edits.train) == 1
    module, _ = started(task)
    losses = task.losses(module, make_batch(["train-1", "another"]), settings())
    assert losses["temporal"].item() == 0.0
    assert losses["perception"].item() > 0
    assert losses["attention"].item() > 0


def test_l_temp_is_10_when_target_and_output_differ_by_1_on_every_frame(task, make_batch, settings):
    module, _ = started(task)
    with torch.no_grad():
        module.attention.temporal_head.fc_b.weight.zero_()
        module.attention.temporal_head.fc_b.bias.fill_(-200.0)  # sigmoid: 0, the target is 1
    losses = task.losses(module, make_batch(["train-0", "train-0"]), settings())
    assert losses["temporal"].item() == 10.0
    padded = make_batch(["train-0"], valid_BT=[[True] * 3 + [False] * 5])
    assert task.losses(module, padded, settings())["temporal"].item() == 10.0
    total = losses["attention"] + losses["perception"] + losses["temporal"]
    assert losses["total"].item() == pytest.approx(total.item(), rel=1e-6)


def test_l_temp_is_0_without_annotations_and_every_gradient_is_the_other_losses(task, make_batch, settings):
    module, _ = started(task)
    task.losses(module, make_batch(["train-1", "x"], seed=3), settings())["temporal"].backward()
    gradients = [p.grad for p in task.parameters(module) if p.grad is not None]
    assert gradients
    assert not any(g.abs().max() for g in gradients)


def test_the_temporal_term_is_a_mean_over_frames_and_over_all_clips_of_the_step(task, make_batch, settings):
    module, _ = started(task)
    batch = make_batch(["train-0", "x", "train-1", "train-0"], samples_in_step=7)
    torch.manual_seed(1)
    found = task.losses(module, batch, settings())["temporal"].item()
    torch.manual_seed(1)
    temporal_BT = answer(module, batch, settings())[0].temporal_B1T11.flatten(1)
    expected = 10 / 7 * sum(sum((1 - m.item()) ** 2 for m in temporal_BT[b]) / 8 for b in (0, 3))
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_masked_mean_is_over_the_frames_that_count():
    output_BT = torch.tensor([[0.1, 0.9, 0.4], [0.2, 0.2, 0.2], [0.5, 0.5, 0.5]], requires_grad=True)
    target_BT = torch.tensor([[0.0, 1.0, 1.0], [0.0, 0.0, 0.0], [1.0, 0.0, 1.0]])
    mask_BT = torch.tensor([[True, True, False], [False, False, False], [False, False, True]])
    found = masked_mse_sum(output_BT, target_BT, mask_BT)
    assert found.item() == pytest.approx((0.01 + 0.01) / 2 + 0.25)
    found.backward()
    assert output_BT.grad[1].tolist() == [0.0] * 3
    assert output_BT.grad[0].tolist() == pytest.approx([0.1, -0.1, 0.0])


def test_the_mean_over_annotated_clips_counts_them_by_the_plan_alike_on_every_worker(task, make_batch, settings):
    recipe = override(task.recipe, ["edits.mean_over=annotated", "train.global_batch=2"])
    other = EditTask(recipe)
    module, _ = started(other)
    with torch.no_grad():
        module.attention.temporal_head.fc_b.weight.zero_()
        module.attention.temporal_head.fc_b.bias.fill_(-200.0)
    halves = [make_batch([video], samples_in_step=2) for video in ("train-0", "train-1")]
    values = [other.losses(module, half, settings())["temporal"].item() for half in halves]
    assert values == [10.0, 0.0]  # of the 2 clips of the step 1 is annotated


def test_the_control_is_the_same_training_but_for_the_temporal_term(recipe_from, sealed, row, make_batch, settings):
    batch = sealed(row("train-0", 12, 0))
    edits, control = recipe_from(batch), recipe_from(batch, gamma_t=0.0)
    assert replace(control, name=edits.name, edits=edits.edits) == edits
    assert (edits.name, control.name) == ("tiny-edits", "tiny-control")
    tasks = [EditTask(edits), EditTask(control)]
    found = []
    for one in tasks:
        module, _ = started(one)
        torch.manual_seed(5)
        found.append(one.losses(module, make_batch(["train-0", "x"]), settings()))
    assert found[0]["temporal"].item() > 0
    assert found[1]["temporal"].item() == 0
    assert found[0]["perception"] == found[1]["perception"]
    assert found[1]["total"].item() == pytest.approx((found[1]["perception"] + found[1]["attention"]).item())


def test_loss_and_gradient_are_equal_on_1_and_2_workers(recipe_from, sealed, row, make_batch, settings, tmp_path):
    """Two real processes; all edited clips fall to the first, so the second takes part without one."""
    recipe = recipe_from(sealed(row("train-0", 12, 0, scores=(1.0,) * 12)))
    recipe = override(recipe, ["model.dropout=0.0"])
    task = EditTask(recipe)
    module, trained = started(task)
    module.eval()  # batch statistics are the one thing that depends on how clips are grouped
    whole = [make_batch(["train-0", "train-0", "train-1", "x", "y"], seed=s, step=s) for s in range(2)]
    optimizer = build_optimizer(trained, recipe.optim)
    outcomes = [train_step(task, module, optimizer, iter([batch]), 0.1, settings()) for batch in whole]
    shares = [[_rows(batch, rows) for batch in whole] for rows in (slice(0, 2), slice(2, 5))]
    torch.save({"recipe": to_dict(recipe), "shares": shares}, tmp_path / "in.pt")
    ranks = [subprocess.Popen([sys.executable, str(PROGRAM), str(rank), str(tmp_path)]) for rank in range(2)]
    assert [rank.wait(timeout=200) for rank in ranks] == [0, 0]
    results = [torch.load(tmp_path / f"out{rank}.pt", weights_only=True) for rank in range(2)]
    assert results[1]["losses"][0]["temporal"] == 0.0
    for step, outcome in enumerate(outcomes):
        for name, value in outcome.losses.items():
            together = sum(result["losses"][step][name] for result in results)
            assert together == pytest.approx(value.item(), rel=1e-5), name
        assert results[0]["norms"][step] == pytest.approx(outcome.grad_norm, rel=1e-4)
    for name, value in module.state_dict().items():
        torch.testing.assert_close(results[1]["state"][name], value, rtol=1e-4, atol=1e-6)


def _rows(batch, rows):
    values = {"samples_in_step": len(batch.ids), "step": batch.step, "epoch": 0, "micro": 0}
    values["ids"] = list(batch.ids[rows])
    return values | {name: getattr(batch, name)[rows] for name in ("x_BTHWC", "label_B", "idx_BT", "valid_BT")}


def test_the_recipe_is_the_bases_but_for_rate_weights_and_edits(tiny_checkpoint):
    base = recipe_of(checkpoint.read(tiny_checkpoint))
    recipe = derive(base, "/c", ["/b"])
    assert recipe.optim.lr == 1e-4
    assert replace(recipe.optim, lr=base.optim.lr) == base.optim
    same = ("data", "clip", "augment", "view", "model", "train", "compute", "tracking")
    assert all(getattr(recipe, name) == getattr(base, name) for name in same)
    assert from_dict(FinetuneRecipe, to_dict(recipe)) == recipe
    assert recipe.edits.gamma_t == 10.0


def test_a_fine_tuned_checkpoint_answers_like_any_other(recipe_from, make_checkpoint):
    recipe = recipe_from("/b")
    found = recipe_of(checkpoint.read(make_checkpoint(recipe=to_dict(recipe))))
    assert type(found) is Recipe
    assert found.model == recipe.model


def test_what_cannot_be_fine_tuned_is_refused(recipe_from, sealed, row, tiny_checkpoint, tmp_path, make_checkpoint):
    batch = sealed(row("train-0", 12, 0))
    with pytest.raises(UserError, match=r"model.classes: 3 -> 4"):
        EditTask(override(recipe_from(batch), ["model.classes=4"])).check_first_weights()
    with pytest.raises(UserError):
        EditTask(override(recipe_from(batch), [f"edits.base={tmp_path}"])).check_first_weights()
    with pytest.raises(UserError, match="validation-2 is not in it"):
        EditTask(recipe_from(sealed(row("validation-2", 14, 2))))
    with pytest.raises(UserError, match=r"edits.gamma_t"):
        recipe_from(batch, gamma_t=-1.0)
    base = recipe_of(checkpoint.read(make_checkpoint("baseline")))
    base = replace(base, model=replace(base.model, arch="baseline"))
    with pytest.raises(UserError, match="temporal attention"):
        derive(base, tiny_checkpoint, [batch])


def test_edits_of_data_with_another_passport_are_said(recipe_from, sealed, row, tiny_root, capsys):
    own = PreparedDataset.open(tiny_root).passport
    edited = row("train-0", 12, 0)
    for passport, said in ((own, False), ("p0", True)):
        task = EditTask(recipe_from(sealed(replace(edited, decision=passport[:8]), passport=passport)))
        task.first_weights(task.build(), log=True)
        printed = capsys.readouterr().out
        assert "1 edited videos to train on" in printed
        assert (f"people saw data of passport p0, not {own}" in printed) == said
