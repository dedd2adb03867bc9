"""Rows of a dataclass survive Parquet, whatever they hold, and nothing else is taken for them."""

from dataclasses import dataclass

import pytest

from pipeline.data.store.table import from_parquet, schema_of, to_parquet


@dataclass(frozen=True)
class Row:
    """One of each kind."""

    name: str
    count: int
    rate: float
    split: tuple[str, ...]


@dataclass(frozen=True)
class Other:
    """Fewer columns."""

    name: str


SCHEMA = schema_of(Row)
ROWS = (Row("a", 2**40, 29.97, ("train", "test")), Row("", -1, 0.1, ()))


@pytest.mark.parametrize("rows", [ROWS, ROWS[:1], ()], ids=len)
def test_rows_come_back_equal_and_of_the_same_kinds(rows):
    found = [Row(**values) for values in from_parquet(to_parquet(rows, SCHEMA), SCHEMA)]
    assert found == list(rows)
    assert [type(value) for row in found for value in vars(row).values()] == [str, int, float, tuple] * len(rows)


def test_other_columns_are_refused():
    data = to_parquet([Other("a")], schema_of(Other))
    with pytest.raises(ValueError, match=r"the columns are \['name'\]"):
        list(from_parquet(data, SCHEMA))
