"""Does temporal attention lie where the action is? Measured on videos whose active frames are known (make_synth).

Two numbers a clip: mean attention of active frames minus mean attention of the others, and the AUC (the probability
that an active frame has more attention than another one, ties counting half). Both are averaged over clips and given
a bootstrap interval over clips. The result is stated as measured, whichever way it points.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from pipeline.core import storage
from pipeline.core.errors import UserError, problem
from pipeline.eval.metrics import Interval, bootstrap_mean

BoolArray = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Agreement:
    """Temporal attention against known truth over a set of clips."""

    clips: int
    """Clips measured."""
    left_out: int
    """Clips whose valid frames are all active, or none: nothing to compare."""
    difference: Interval
    """Mean attention inside minus outside, mean over clips."""
    auc: Interval
    """Mean over clips; 0.5 is chance."""

    def sentence(self) -> str:
        """Say what was measured."""
        if self.clips == 0:
            return f"Temporal attention against truth: no clip has both active and other frames ({self.left_out} seen)."
        d, a = self.difference, self.auc
        word = "higher" if d.low > 0 else "lower" if d.high < 0 else "not measurably different"
        return (
            f"Temporal attention is {word} on active frames than on others: difference {d.value:+.3f} "
            f"(95 % {d.low:+.3f} to {d.high:+.3f}), AUC {a.value:.3f} ({a.low:.3f} to {a.high:.3f}), over {self.clips} "
            f"clips; {self.left_out} left out, with only one kind of frame."
        )


def read_truth(uri: str) -> dict[str, BoolArray]:
    """Read the active frames of every video from a truth file of make_synth (columns id, active: list<bool>).

    Raises:
        UserError: no such file, or other columns.
    """
    fix = "give the truth.parquet that jobs/make_synth.py wrote"
    try:
        table = pq.read_table(pa.BufferReader(storage.read_bytes(uri)), columns=["id", "active"])
    except FileNotFoundError as error:
        raise UserError(problem("There is no truth file", got=uri, allowed="an existing file", fix=fix)) from error
    except pa.ArrowInvalid as error:
        got = f"{uri} ({error})"
        raise UserError(problem("The truth file is of another kind", got=got, allowed="id, active", fix=fix)) from error
    return {row["id"]: np.array(row["active"], np.bool_) for row in table.to_pylist()}


def compare(rows: Iterable[Mapping[str, object]], truth: Mapping[str, BoolArray]) -> Agreement:
    """Compare the temporal attention of predictions with the truth.

    Args:
        rows: predictions with id, temporal, idx and valid, one a clip; padding is left out.
        truth: active frames by video id.

    Raises:
        UserError: a prediction whose video the truth does not know, or one shorter than the sampled frames.
    """
    differences, aucs, left_out = [], [], 0
    for row in rows:
        active_V = truth.get(str(row["id"]))
        idx_T = np.asarray(row["idx"])
        if active_V is None or int(idx_T.max()) >= len(active_V):
            known = "no entry" if active_V is None else f"{len(active_V)} frames"
            raise UserError(
                problem(
                    f"The truth does not fit video {row['id']}",
                    got=known,
                    allowed=f"an entry with at least {int(idx_T.max()) + 1} frames",
                    fix="use the truth file that was made together with these videos",
                )
            )
        valid_T = np.asarray(row["valid"], np.bool_)
        active_T = active_V[idx_T][valid_T]
        attention_T = np.asarray(row["temporal"], np.float64)[valid_T]
        if active_T.all() or not active_T.any():
            left_out += 1
            continue
        differences.append(attention_T[active_T].mean() - attention_T[~active_T].mean())
        aucs.append(auc(attention_T, active_T))
    return Agreement(len(differences), left_out, bootstrap_mean(np.array(differences)), bootstrap_mean(np.array(aucs)))


def auc(attention_T: npt.NDArray[np.float64], active_T: BoolArray) -> float:
    """Return the probability that a random active frame has more attention than a random other one; ties count half."""
    inside_I1, outside_O = attention_T[active_T][:, None], attention_T[~active_T]
    wins = (inside_I1 > outside_O).sum() + 0.5 * (inside_I1 == outside_O).sum()
    return float(wins / (inside_I1.size * outside_O.size))
