"""Parameters: OpenCV's defaults, what is refused, the pyramid."""

import cv2
import pytest

from pipeline.core.config import from_dict, to_dict
from pipeline.core.errors import UserError
from pipeline.flow.tvl1 import TvL1Config


def test_defaults_are_those_of_opencv():
    solver, config = cv2.optflow.createOptFlow_DualTVL1(), TvL1Config()
    assert solver.getTau() == config.tau
    assert solver.getLambda() == config.lambda_
    assert solver.getTheta() == config.theta
    assert solver.getScalesNumber() == config.scales
    assert solver.getWarpingsNumber() == config.warps
    assert solver.getEpsilon() == config.epsilon
    assert solver.getInnerIterations() == config.inner_iterations
    assert solver.getOuterIterations() == config.outer_iterations
    assert solver.getScaleStep() == config.scale_step
    assert solver.getMedianFiltering() == config.median
    assert solver.getGamma() == config.gamma
    assert solver.getUseInitialFlow() == config.use_initial_flow


@pytest.mark.parametrize("change", [{"gamma": 0.1}, {"use_initial_flow": True}])
def test_what_is_not_implemented_is_refused_by_name(change):
    with pytest.raises(UserError, match=f"not implemented.*{next(iter(change))}"):
        TvL1Config(**change)


@pytest.mark.parametrize(
    "change",
    [
        {"tau": 0.0},
        {"lambda_": -1.0},
        {"theta": 0.0},
        {"epsilon": -0.1},
        {"scales": 0},
        {"warps": 0},
        {"inner_iterations": 0},
        {"outer_iterations": 0},
        {"scale_step": 1.0},
        {"scale_step": 0.0},
        {"median": 4},
        {"median": 7},
    ],
)
def test_impossible_values_are_refused(change):
    with pytest.raises(UserError, match="config is impossible"):
        TvL1Config(**change)


def test_presets_name_the_algorithm_behind_published_flow():
    assert TvL1Config.denseflow().max_iterations == TvL1Config.cuda().max_iterations == 300
    assert TvL1Config.denseflow().variant == "opencv-cpu"
    assert (TvL1Config.cuda().variant, TvL1Config.cuda().stop) == ("opencv-cuda", "opencv-cuda")
    assert TvL1Config.cuda(stop="every", epsilon=0.02) == TvL1Config(
        variant="opencv-cuda", inner_iterations=300, outer_iterations=1, median=0, epsilon=0.02
    )


def test_a_config_survives_json():
    config = TvL1Config.cuda(theta=0.25)
    assert from_dict(TvL1Config, to_dict(config)) == config


def test_levels_shrink_by_the_step_and_end_at_16_pixels():
    assert TvL1Config().levels(256, 340) == ((256, 340), (205, 272), (164, 218), (131, 174), (105, 139))
    assert TvL1Config().levels(24, 100) == ((24, 100), (19, 80))
    assert TvL1Config().levels(16, 16) == ((16, 16),)
    assert TvL1Config(scales=2, scale_step=0.5).levels(65, 67) == ((65, 67), (32, 34))  # halves go to even
