"""The 5x5 median of the flow, sixteen windows at a time, with the border repeated.

After each column of a window is sorted, each row of the result is sorted too (which leaves the columns sorted). Number
(i, j) of the sorted 5x5 then has at least i j - 1 others below or equal and (6 - i)(6 - j) - 1 above or equal, so that
six numbers are surely too small to be the median, the thirteenth, and six too large. The median of the window is that
of the thirteen which remain. A column is sorted once for the five windows that it belongs to.
"""

from pipeline.flow.tvl1.simd import LANES, Floats, Lanes, compiled, larger, load, smaller, store
from pipeline.flow.tvl1.workspace import GUARD, PLANES, row_pitch

Five = tuple[Lanes, Lanes, Lanes, Lanes, Lanes]


@compiled
def median5(state: Floats, height: int, width: int, pitch: int, plane: int, padded: Floats, rows: Floats) -> None:
    """Replace a plane of the state by its 5x5 median; `padded` and `rows` are scratch."""
    across = row_pitch(width)
    _pad(state, height, width, pitch, plane, 2, padded)
    for y in range(height):
        for x in range(0, width + 4, LANES):
            i = y * across + x
            column = sort5(
                load(padded, i),
                load(padded, i + across),
                load(padded, i + 2 * across),
                load(padded, i + 3 * across),
                load(padded, i + 4 * across),
            )
            store(rows, x, column[0])
            store(rows, across + x, column[1])
            store(rows, 2 * across + x, column[2])
            store(rows, 3 * across + x, column[3])
            store(rows, 4 * across + x, column[4])
        out = (y + 1) * PLANES * pitch + plane * pitch + GUARD
        for x in range(0, width, LANES):
            store(state, out + x, _of_sorted_columns(rows, x, across))


@compiled
def median3(state: Floats, height: int, width: int, pitch: int, plane: int, padded: Floats, rows: Floats) -> None:
    """Replace a plane of the state by its 3x3 median: of the largest minimum, the middle median, the least maximum."""
    across = row_pitch(width)
    _pad(state, height, width, pitch, plane, 1, padded)
    for y in range(height):
        for x in range(0, width + 2, LANES):
            i = y * across + x
            column = sort3(load(padded, i), load(padded, i + across), load(padded, i + 2 * across))
            store(rows, x, column[0])
            store(rows, across + x, column[1])
            store(rows, 2 * across + x, column[2])
        out = (y + 1) * PLANES * pitch + plane * pitch + GUARD
        for x in range(0, width, LANES):
            i = x + across
            j = x + 2 * across
            low = sort3(load(rows, x), load(rows, x + 1), load(rows, x + 2))[2]
            middle = sort3(load(rows, i), load(rows, i + 1), load(rows, i + 2))[1]
            high = sort3(load(rows, j), load(rows, j + 1), load(rows, j + 2))[0]
            store(state, out + x, sort3(low, middle, high)[1])


@compiled
def _pad(state: Floats, height: int, width: int, pitch: int, plane: int, radius: int, padded: Floats) -> None:
    """Copy a plane with its border repeated `radius` times."""
    across = row_pitch(width)
    for y in range(height + 2 * radius):
        source = (min(max(y - radius, 0), height - 1) + 1) * PLANES * pitch + plane * pitch + GUARD
        out = y * across
        for x in range(0, width, LANES):
            store(padded, out + radius + x, load(state, source + x))
        for x in range(radius):
            padded[out + x] = state[source]
            padded[out + radius + width + x] = state[source + width - 1]


@compiled
def _of_sorted_columns(rows: Floats, x: int, across: int) -> Lanes:
    """Median of the windows whose sorted columns start at x, smallest numbers in row 0."""
    one = _sorted_row(rows, x)
    two = _sorted_row(rows, x + across)
    three = _sorted_row(rows, x + 2 * across)
    four = _sorted_row(rows, x + 3 * across)
    five = _sorted_row(rows, x + 4 * across)
    low1, low2, low3, low4 = one[3], two[2], three[1], four[0]
    high1, high2, high3, high4 = two[4], three[3], four[2], five[1]
    # The least and the largest of any eight of thirteen numbers, of any seven of the remaining eleven, and so on, are
    # not the median. In the sorted matrix each high is above two lows, and each low below two highs, so that two
    # times over the least is among the lows and the largest among the highs, or one of them is the number that is new.
    low1, low2 = sort2(low1, low2)
    low1, low3 = sort2(low1, low3)
    low1, low4 = sort2(low1, low4)
    high1, high4 = sort2(high1, high4)
    high2, high4 = sort2(high2, high4)
    high3, high4 = sort2(high3, high4)
    new = one[4]
    low2, new = sort2(low2, new)
    low2, low3 = sort2(low2, low3)
    low2, low4 = sort2(low2, low4)
    new, high3 = sort2(new, high3)
    high1, high3 = sort2(high1, high3)
    high2, high3 = sort2(high2, high3)
    a, b, c, d = without_extremes6(low3, low4, new, high1, high2, five[0])
    a, b, c = without_extremes5(a, b, c, d, two[3])
    a, b = without_extremes4(a, b, c, three[2])
    return sort3(a, b, four[1])[1]


@compiled
def without_extremes6(a: Lanes, b: Lanes, c: Lanes, d: Lanes, e: Lanes, f: Lanes) -> tuple[Lanes, Lanes, Lanes, Lanes]:
    """Six without the smallest and the largest, in no order."""
    a, d = sort2(a, d)
    b, e = sort2(b, e)
    c, f = sort2(c, f)
    a, b = sort2(a, b)
    a, c = sort2(a, c)
    d, f = sort2(d, f)
    e, f = sort2(e, f)
    return b, c, d, e


@compiled
def without_extremes5(a: Lanes, b: Lanes, c: Lanes, d: Lanes, e: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """Five without the smallest and the largest, in no order."""
    a, b = sort2(a, b)
    d, e = sort2(d, e)
    a, d = sort2(a, d)
    a, c = sort2(a, c)
    b, e = sort2(b, e)
    c, e = sort2(c, e)
    return b, c, d


@compiled
def without_extremes4(a: Lanes, b: Lanes, c: Lanes, d: Lanes) -> tuple[Lanes, Lanes]:
    """Four without the smallest and the largest, in no order."""
    a, b = sort2(a, b)
    c, d = sort2(c, d)
    a, c = sort2(a, c)
    b, d = sort2(b, d)
    return b, c


@compiled
def _sorted_row(rows: Floats, i: int) -> Five:
    return sort5(load(rows, i), load(rows, i + 1), load(rows, i + 2), load(rows, i + 3), load(rows, i + 4))


@compiled
def sort2(a: Lanes, b: Lanes) -> tuple[Lanes, Lanes]:
    """The smaller, then the larger."""
    return smaller(a, b), larger(a, b)


@compiled
def sort3(a: Lanes, b: Lanes, c: Lanes) -> tuple[Lanes, Lanes, Lanes]:
    """Three in ascending order."""
    a, b = sort2(a, b)
    a, c = sort2(a, c)
    b, c = sort2(b, c)
    return a, b, c


@compiled
def sort5(a: Lanes, b: Lanes, c: Lanes, d: Lanes, e: Lanes) -> Five:
    """Five in ascending order, by the nine exchanges that five need."""
    a, b = sort2(a, b)
    d, e = sort2(d, e)
    c, e = sort2(c, e)
    c, d = sort2(c, d)
    b, e = sort2(b, e)
    a, d = sort2(a, d)
    a, c = sort2(a, c)
    b, d = sort2(b, d)
    b, c = sort2(b, c)
    return a, b, c, d, e
