"""One step: accumulation and uneven shares are exact, non-finite gradients leave no trace."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from pipeline.train.step import train_step

PROGRAM = Path(__file__).parent / "programs" / "two_ranks.py"


def split(batch, sizes):
    """Cut a batch into consecutive micro-batches, as the plan does."""
    pieces, start = [], 0
    for micro, size in enumerate(sizes):
        rows = slice(start, start + size)
        pieces.append(
            batch._replace(x_BTHWC=batch.x_BTHWC[rows], label_B=batch.label_B[rows], ids=batch.ids[rows], micro=micro)
        )
        start += size
    return pieces


def sgd(module):
    return torch.optim.SGD(module.parameters(), lr=0.1, momentum=0.9, nesterov=True)


def test_micro_batches_of_uneven_sizes_equal_one_batch(task, network, make_batch, settings):
    whole, pieces = network(), network()
    whole.norm.eval()  # batch statistics are the one thing that depends on how clips are grouped
    pieces.norm.eval()
    batch = make_batch(7)
    a = train_step(task, whole, sgd(whole), iter([batch]), 0.1, settings())
    b = train_step(task, pieces, sgd(pieces), iter(split(batch, [3, 3, 1])), 0.1, settings(accumulate=3))
    assert b.ids == a.ids == batch.ids
    assert b.grad_norm == pytest.approx(a.grad_norm, rel=1e-5)
    assert set(a.losses) == {"total", "perception", "attention"}
    for name, value in a.losses.items():
        torch.testing.assert_close(b.losses[name], value)
    for left, right in zip(whole.parameters(), pieces.parameters(), strict=True):
        torch.testing.assert_close(left, right, rtol=1e-6, atol=1e-7)


def test_uneven_shares_of_two_workers_equal_one_batch(task, network, make_batch, settings, tmp_path):
    """Two real processes over gloo, 7 clips shared 4 and 3, two micro-batches each."""
    single = network()
    single.norm.eval()
    optimizer = sgd(single)
    whole = [make_batch(7, seed=step, step=step) for step in range(3)]
    outcomes = [train_step(task, single, optimizer, iter([batch]), 0.1, settings()) for batch in whole]
    shares = [[], []]
    for batch in whole:
        first, second, third, fourth = split(batch, [2, 2, 2, 1])
        shares[0] += [first._asdict(), second._asdict()]
        shares[1] += [third._asdict() | {"micro": 0}, fourth._asdict() | {"micro": 1}]
    torch.save({"state": network().state_dict(), "shares": shares}, tmp_path / "in.pt")
    _run_ranks(tmp_path)
    for rank in range(2):
        result = torch.load(tmp_path / f"out{rank}.pt", weights_only=True)
        assert result["norms"] == pytest.approx([o.grad_norm for o in outcomes], rel=1e-5)
        for name, value in single.state_dict().items():
            torch.testing.assert_close(result["state"][name], value, rtol=1e-5, atol=1e-6)


def _run_ranks(folder):
    conftest = Path(__file__).parent / "conftest.py"
    ranks = [subprocess.Popen([sys.executable, str(PROGRAM), str(r), str(folder), str(conftest)]) for r in range(2)]
    assert [rank.wait(timeout=120) for rank in ranks] == [0, 0]


def test_a_non_finite_step_changes_nothing_and_names_its_videos(task, network, make_batch, settings):
    module = network()
    optimizer = sgd(module)
    train_step(task, module, optimizer, iter([make_batch(4)]), 0.1, settings())  # momentum exists now
    with torch.no_grad():
        module.perception.weight[0, 0] = float("inf")
    state = {name: value.clone() for name, value in module.state_dict().items()}
    momentum = json.dumps([s["momentum_buffer"].tolist() for s in optimizer.state.values()])

    outcome = train_step(task, module, optimizer, iter([make_batch(4, seed=9, step=1)]), 0.1, settings(clip_norm=20.0))

    assert not outcome.applied
    assert outcome.ids == ("9-0", "9-1", "9-2", "9-3")
    for name, value in module.state_dict().items():
        assert torch.equal(value, state[name]), name
    assert json.dumps([s["momentum_buffer"].tolist() for s in optimizer.state.values()]) == momentum


def test_clipping_bounds_the_update_and_reports_the_norm_before(task, network, make_batch, settings):
    free, clipped = network(), network()
    before = [p.detach().clone() for p in clipped.parameters()]
    a = train_step(task, free, torch.optim.SGD(free.parameters(), lr=1.0), iter([make_batch(4)]), 1.0, settings())
    b = train_step(
        task,
        clipped,
        torch.optim.SGD(clipped.parameters(), lr=1.0),
        iter([make_batch(4)]),
        1.0,
        settings(clip_norm=0.01),
    )
    moved = torch.sqrt(sum(((p - q) ** 2).sum() for p, q in zip(clipped.parameters(), before, strict=True)))
    assert b.grad_norm == a.grad_norm > 0.01
    assert float(moved.detach()) == pytest.approx(0.01, rel=1e-3)


def test_dropout_repeats_for_the_same_step_whatever_was_drawn_before(task, network, make_batch, settings):
    results = []
    for noise in (0, 1000):
        module = network(dropout=0.5)
        torch.rand(noise)
        train_step(task, module, sgd(module), iter([make_batch(4, step=3)]), 0.1, settings())
        results.append(module.state_dict())
    for name, value in results[0].items():
        assert torch.equal(value, results[1][name]), name
