import pytest

from pipeline.core.errors import UserError
from pipeline.flow.request import PRESETS, config_of, imported_config, workers_of
from pipeline.flow.tvl1 import TvL1Config


def ask(preset="opencv-cpu", changes=(), bound=20.0, size="", codec="jpeg"):
    return config_of(preset, changes, bound=bound, size=size, codec=codec)


def work(config=None, backend="", cpus=1.0, gpus=0, gpu_cpus=4.0, mix=False):
    return workers_of(config or ask(), backend=backend, cpus=cpus, gpus=gpus, gpu_cpus=gpu_cpus, mix=mix)


def test_presets_are_the_algorithms_that_they_are_called_after():
    assert PRESETS["opencv-cpu"]() == TvL1Config()
    assert PRESETS["denseflow"]() == TvL1Config(inner_iterations=300, outer_iterations=1, median=0)
    assert PRESETS["cuda"]().variant == "opencv-cuda"


def test_settings_are_what_was_asked_for():
    config = ask("denseflow", ["epsilon=0.02", "warps=3"], bound=15.0, size="340x256", codec="png")
    assert (config.tvl1.epsilon, config.tvl1.warps, config.tvl1.median) == (0.02, 3, 0)
    assert (config.bound, config.size, config.codec.format) == (15.0, (340, 256), "png")
    assert imported_config(32.0).tvl1 is None
    with pytest.raises(UserError, match="did you mean epsilon"):
        ask(changes=["epsilom=1"])


@pytest.mark.parametrize("size", ["340", "340x", "x256", "-3x4", "340x256x3", "axb"])
def test_a_size_that_cannot_be_read_is_refused(size):
    with pytest.raises(UserError, match=rf"--size cannot be read\. Received: {size}\. Allowed: such as 340x256"):
        ask(size=size)


def test_cpus_alone():
    workers, backends = work(cpus=2.5)
    assert backends == ("numba",)
    assert (workers.cpu.backend, workers.cpu.threads, workers.cpus, workers.gpu, workers.gpus) == (
        "numba",
        2,
        2.5,
        None,
        0,
    )
    assert work(backend="opencv", cpus=0.5)[0].cpu.threads == 1


def test_gpus_alone():
    workers, backends = work(gpus=2)
    assert backends == ("triton",)
    assert (workers.cpu, workers.cpus, workers.gpu.backend, workers.gpus) == (None, 0.0, "triton", 2)
    assert (workers.gpu.threads, workers.gpu.batch) == (4, 256)


def test_both_when_mixing_was_asked_for():
    workers, backends = work(gpus=1, mix=True)
    assert backends == ("numba", "triton")
    assert (workers.cpu.backend, workers.gpu.backend) == ("numba", "triton")


@pytest.mark.parametrize(("backend", "gpus"), [("triton", 0), ("numba", 1), ("opencv", 2), ("", -1)])
def test_what_does_not_go_together_is_refused(backend, gpus):
    with pytest.raises(UserError, match="Backend and GPUs do not go together"):
        work(backend=backend, gpus=gpus)


def test_what_a_backend_cannot_compute_is_refused_before_any_work():
    with pytest.raises(UserError, match="The opencv backend runs OpenCV's CPU algorithm only"):
        work(ask("cuda"), backend="opencv")


def test_an_import_needs_no_backend():
    workers, backends = work(imported_config(20.0), cpus=0.5)
    assert (workers.cpu, workers.gpu, workers.cpus, backends) == (None, None, 0.5, ("imported",))
