"""The simulation behind the gates' limits, against brute force, and what it finds at a small number of plans."""

import itertools
import math

import numpy as np
import pytest

from benchmarks import gates
from pipeline.retrain.policy import read_policy


@pytest.fixture(scope="module")
def world():
    return gates.world_of(gates.gamma_sizes(), 0.10, 0.0)


@pytest.fixture(scope="module")
def plans(world):
    return list(world.draw(np.random.default_rng(0), 20))


def test_the_list_is_as_large_as_the_official_one():
    sizes = gates.gamma_sizes()
    assert (sizes.sum(), len(sizes)) == (24_777, 174)
    assert sizes.min() > 0
    assert abs(float(np.median(sizes)) - 114.5) < 6


def test_sizes_of_a_list_are_counted(tmp_path):
    path = tmp_path / "list.txt"
    path.write_text("7 40 2\n8 36 0\n9 44 2\n\n")
    assert gates.official_sizes(str(path)).tolist() == [0, 1, 2]


def test_networks_are_as_good_and_differ_as_asked(plans):
    videos = 24_777 * len(plans)
    gained, lost, right = (
        sum(int(getattr(p, f"{name}_K").sum()) for p in plans) for name in ("gained", "lost", "right")
    )
    assert (gained + lost) / videos == pytest.approx(0.10, abs=0.003)
    assert gained == pytest.approx(lost, rel=0.04)
    assert right / videos == pytest.approx(0.5862, abs=0.02)


@pytest.mark.parametrize("kind", gates.KINDS)
def test_a_true_loss_is_as_large_as_asked(world, plans, kind):
    k, rng = int(np.argmax(world.videos_K)), np.random.default_rng(1)
    lost = [world.lose(plans[i % 20], k, 10.0, kind, rng) for i in range(100)]
    points = np.mean([100 * (one.lost_K[k] - one.gained_K[k]) / one.videos_K[k] for one in lost])
    assert points == pytest.approx(10.0, abs=0.6)
    others = np.arange(174) != k
    assert (lost[0].lost_K[others] == plans[0].lost_K[others]).all()
    assert lost[0].credit_K[k] < 0


def test_whole_classes_shift_by_what_was_asked():
    shifted = gates.world_of(gates.gamma_sizes(), 0.10, 2.0)
    large = shifted.videos_K > 300
    found = [(p.lost_K - p.gained_K)[large] / p.videos_K[large] for p in shifted.draw(np.random.default_rng(0), 20)]
    noise = 0.10 / shifted.videos_K[large].mean()
    assert 100 * math.sqrt(np.var(found) - noise) == pytest.approx(1.7, abs=0.4)  # classes far from average shift less


def test_the_bound_is_the_best_of_all_tests():
    videos, churn, points, alpha = 3, 0.2, 30.0, 0.05
    chances = {}
    for moves in itertools.product("lgs", repeat=videos):
        key = (moves.count("l"), moves.count("g"))
        null, true = chances.get(key, (0.0, 0.0))
        p0 = math.prod({"l": 0.1, "g": 0.1, "s": 0.8}[m] for m in moves)
        p1 = math.prod({"l": 0.4, "g": 0.1, "s": 0.5}[m] for m in moves)
        chances[key] = (null + p0, true + p1)
    power, left = 0.0, alpha
    for null, true in sorted(chances.values(), key=lambda pair: -pair[1] / pair[0]):
        take = min(1.0, left / null)
        power, left = power + take * true, left - take * null
    assert gates.most_powerful(videos, churn, points, alpha) == pytest.approx(power)
    assert gates.most_powerful(120, 0.1, 1e-9, 0.05) == pytest.approx(0.05)


def test_the_standard_policy_refuses_seldom_and_misses_seldom(world, plans):
    policy, edited_K = read_policy(), np.arange(174) < 8
    names = gates.NAMES
    judged = [gates.Judged(p, edited_K, gates.refusals(gates.judge_scores(p, names, edited_K, policy))) for p in plans]
    assert sum(bool(one.refused) for one in judged) <= 3  # of 20; 5 % are one
    median = int(np.argsort(world.videos_K)[87])
    for kind in gates.KINDS:
        found, alone = gates.caught(world, judged * 3, policy, (median, 10.0, kind), 1)
        assert found >= 50  # of 60; 90 % are 54
        assert alone < found


@pytest.mark.slow
def test_rates_are_printed_with_intervals(capsys):
    gates.main(["--plans", "100"])
    out = capsys.readouterr().out
    assert read_policy().id in out
    assert out.count("caught ") == 2
    assert "refused by the rule 'no class may drop' 100.0 %" in out


def test_heavier_tails_leave_churn_as_asked():
    heavy = gates.world_of(gates.gamma_sizes(), 0.10, 0.0, tails=3.0)
    (plan,) = heavy.draw(np.random.default_rng(0), 1)
    assert (plan.gained_K.sum() + plan.lost_K.sum()) / 24_777 == pytest.approx(0.10, abs=0.01)
    (usual,) = gates.world_of(gates.gamma_sizes(), 0.10, 0.0).draw(np.random.default_rng(0), 1)
    assert plan.crashed_K.sum() > 2 * usual.crashed_K.sum()
