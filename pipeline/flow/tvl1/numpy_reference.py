"""TV-L1 in plain NumPy, one pair of whole images at a time: slow, short, and what other backends are held against.

Written from the equations of Zach, Pock and Bischof (DAGM 2007) and from what OpenCV's two versions do; operations in
their order, float32 throughout. Needs nothing that a bare GPU node lacks.

Shape letters: H height, W width.
"""

import numpy as np
import numpy.typing as npt

from pipeline.flow.tvl1.config import TvL1Config

F = np.float32
Image = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.uint8] | Image


def solve_pair(frame0_HW: Pixels, frame1_HW: Pixels, config: TvL1Config) -> tuple[Image, int]:
    """Compute the flow of one pair of grey frames.

    Args:
        frame0_HW: from 0 to 255.
        frame1_HW: the frame that follows.
        config: the algorithm, any variant and stop rule.

    Returns:
        Flow in pixels (H, W, 2), x then y, and how many iterations it took.
    """
    sizes, pyramid = config.levels(*frame0_HW.shape), [[frame0_HW.astype(F), frame1_HW.astype(F)]]
    for size in sizes[1:]:
        pyramid.append([_resized(image, size, (1 / config.scale_step,) * 2, config) for image in pyramid[-1]])
    flow = [np.zeros(sizes[-1], F)] * 2
    iterations = 0
    for (first, second), size in zip(reversed(pyramid), reversed(sizes), strict=True):
        if flow[0].shape != size:
            ratio = (flow[0].shape[0] / size[0], flow[0].shape[1] / size[1])
            flow = [_resized(component, size, ratio, config) * F(1 / config.scale_step) for component in flow]
        edge = np.pad(second, 1, mode="edge")
        slopes = [F(0.5) * (edge[1:-1, 2:] - edge[1:-1, :-2]), F(0.5) * (edge[2:, 1:-1] - edge[:-2, 1:-1])]
        dual = np.zeros((2, 2, *size), F)
        for _ in range(config.warps):
            warped, *gradient = _sampled([second, *slopes], flow, config.variant == "opencv-cuda")
            rest = warped - gradient[0] * flow[0] - gradient[1] * flow[1] - first
            flow, ran = _warp(flow, dual, gradient, rest, config)
            iterations += ran
    return np.stack(flow, axis=-1), iterations


def _resized(image: Image, size: tuple[int, int], scale: tuple[float, float], config: TvL1Config) -> Image:
    """An image at another size; a target pixel is `scale` source pixels high and wide."""
    taps = []
    for target, source, factor in zip(size, image.shape, scale, strict=True):
        if config.variant == "opencv-cpu":
            position = ((np.arange(target) + 0.5) * factor - 0.5).clip(0).astype(F)
        else:
            position = np.arange(target, dtype=F) * F(factor)
        first = np.minimum(np.floor(position).astype(int), source - 1)
        taps.append((first, np.minimum(first + 1, source - 1), (position - first).astype(F)))
    (y0, y1, fy), (x0, x1, fx) = taps
    wide: Image = image[:, x0] * (1 - fx) + image[:, x1] * fx
    made: Image = wide[y0] * (1 - fy)[:, None] + wide[y1] * fy[:, None]
    return made


def _keys(distance: Image, a: float) -> Image:
    """Keys' cubic kernel with parameter `a`."""
    d = np.abs(distance)
    near, far = (a + 2) * d**3 - (a + 3) * d**2 + 1, a * d**3 - 5 * a * d**2 + 8 * a * d - 4 * a
    return np.where(d <= 1, near, np.where(d < 2, far, 0)).astype(F)


def _sampled(images: list[Image], flow: list[Image], cuda: bool) -> list[Image]:
    """The images where the flow points, by the cubic of OpenCV's CPU or CUDA code."""
    u, v = flow
    height, width = u.shape
    y, x = np.mgrid[:height, :width]
    to_x, to_y = (x + u).astype(F), (y + v).astype(F)
    total, weights = [np.zeros_like(u) for _ in images], np.zeros_like(u)
    for dy in range(-1, 3):
        for dx in range(-1, 3):
            column, row = np.floor(to_x).astype(int) + dx, np.floor(to_y).astype(int) + dy
            weight = _keys(to_x - column, -0.5 if cuda else -0.75) * _keys(to_y - row, -0.5 if cuda else -0.75)
            known = (column >= 0) & (column < width) & (row >= 0) & (row < height)
            at = row.clip(0, height - 1), column.clip(0, width - 1)
            for i, image in enumerate(images):
                total[i] += weight * np.where(known | cuda, image[at], 0)
            weights += weight
    return [t / weights if cuda else t for t in total]


def _median(image: Image, side: int) -> Image:
    """The median of each square of this side; the border repeats."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(image, side // 2, mode="edge"), (side, side))
    return np.median(windows, axis=(2, 3)).astype(F)


def _warp(
    flow: list[Image], dual: Image, gradient: list[Image], rest: Image, config: TvL1Config
) -> tuple[list[Image], int]:
    """The iterations of one warp under the config's stop rule; `dual` changes in place."""
    threshold, known = config.epsilon**2 * rest.size, 0.0
    for n in range(config.max_iterations):
        if config.median > 1 and n % config.inner_iterations == 0:
            flow = [_median(component, config.median) for component in flow]
        before, flow = flow, _iterated(flow, dual, gradient, rest, config)
        change = sum(float(((new - old) ** 2).sum(dtype=np.float64)) for new, old in zip(flow, before, strict=True))
        checked = config.stop == "every"
        if config.stop == "opencv-cuda":
            checked = n % 2 == 1 and known < threshold
            known = change if checked else known - threshold
        if checked and change <= threshold:
            return flow, n + 1
    return flow, config.max_iterations


def _iterated(flow: list[Image], dual: Image, gradient: list[Image], rest: Image, config: TvL1Config) -> list[Image]:
    """The flow after one iteration; `dual` changes in place."""
    data_step, theta, dual_step = F(config.lambda_ * config.theta), F(config.theta), F(config.tau / config.theta)
    residual = rest + gradient[0] * flow[0] + gradient[1] * flow[1]
    squared = gradient[0] ** 2 + gradient[1] ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.where(squared > np.finfo(F).eps, -residual / squared, F(0))
    along = np.where(residual < -data_step * squared, data_step, along)
    along = np.where(residual > data_step * squared, -data_step, along)
    made = []
    for component, slope, (px, py) in zip(flow, gradient, dual, strict=True):
        divergence = np.diff(px, axis=1, prepend=F(0)) + np.diff(py, axis=0, prepend=F(0))
        new = component + along * slope + theta * divergence
        dx, dy = np.zeros_like(new), np.zeros_like(new)
        dx[:, :-1], dy[:-1] = np.diff(new, axis=1), np.diff(new, axis=0)
        shrink = 1 + dual_step * np.hypot(dx, dy)
        px[:], py[:] = (px + dual_step * dx) / shrink, (py + dual_step * dy) / shrink
        made.append(new)
    return made
