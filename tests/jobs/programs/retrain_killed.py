"""One real night of retraining, killed at a boundary: `retrain_killed.py FOLDER BOUNDARY`; prints what is left.

Limits of the gates are so wide that a network of no use is promoted: the way is tested here, not the judgement.
"""

import json
import os
import signal
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "retrain" / "programs"))

import nights

from pipeline.core.config import from_dict, to_dict
from pipeline.retrain.attempt import attempt, told
from pipeline.retrain.policy import Policy
from pipeline.retrain.work import Training

WIDE = {
    "overall": {"margin_points": 100.0},
    "edited": {"margin_points": 100.0},
    "edited_better": {"gain_points": -100.0, "alpha": 1.0},
    "untouched": {"margin_points": 100.0},
    "classes": {"floor_points": 100.0},
    "credit": {"points": 100.0},
    "attention": {"inversion_points": 100.0, "spread_share": 0.0, "spread": 0.0},
    "batch": {"clips": 1, "level": 1.0, "distance": 0.0},
    "integrity": {"latency_ratio": 100.0},
}


def main():
    """Work, then say what is left."""
    folder, boundary = sys.argv[1:]
    desk = nights.desk_of(folder)
    values = to_dict(desk.policy)
    wide = {**values, **{name: {**values[name], **changes} for name, changes in WIDE.items()}, "name": "wide-1"}
    desk = replace(desk, policy=from_dict(Policy, wide), overrides=(*desk.overrides, "compute.data_cpus=0"))

    def at(passed):
        if passed == boundary:
            os.kill(os.getpid(), signal.SIGKILL)

    outcome = attempt(desk, lambda: Training(root=desk.root, ledger=desk.ledger, batch=4), at)
    print(outcome if isinstance(outcome, str) else told(desk, outcome), flush=True)
    found = json.loads(nights.left(folder, desk))
    # Latency is a clock's figure; it is in the evidence, and so in whatever is hashed of it or drawn from it.
    found["rows"] = [{**row, "verdict": row["verdict"]["passed"]} for row in found["rows"]]
    found["events"] = [event[:2] for event in found["events"]]
    for facts in found["facts"]:
        del facts["scored"]["evidence"], facts["judged"]["verdict"]
    found["files"] = {k: v for k, v in found["files"].items() if k.endswith((".pt", "list.json", ".webp", ".parquet"))}
    print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
