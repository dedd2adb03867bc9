#!/usr/bin/env python3
"""Show where a two-stream system looks, and how systems were trained: the thesis' figures 1.1, 4.2 and 4.1.

    python jobs/explain_two_stream.py NAME --videos 3
    python jobs/explain_two_stream.py NAME --ids Archery/v_Archery_g01_c01 --asked Archery
    python jobs/explain_two_stream.py TWO_PHASES ALGORITHM_1 --videos 0

Of each video, in --out: layers-N.png, Grad-CAM of Mixed_7a, 7b and 7c for the predicted class, or the one asked about
(figure 4.2), and attention-N.png, the temporal stream's attention over frames and the spatial stream's over flow, from
the attention nets (figure 1.1). Of all systems named: curves.png, loss and accuracy against epochs, and cost (4.1).
"""

import argparse
import sys
from collections.abc import Sequence

from jobs.cli import guarded, here, path


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("systems", nargs="+", metavar="NAME", help="systems; videos are explained by the first")
    parser.add_argument("--storage", type=path, default="runs", metavar="URI", help="run storage (runs)")
    parser.add_argument("--videos", type=int, default=3, metavar="N", help="test videos, a class each in turn (3)")
    parser.add_argument("--ids", nargs="*", default=[], metavar="ID", help="these videos instead")
    parser.add_argument(
        "--asked", default="", metavar="CLASS", help="class that layers are asked about (the predicted)"
    )
    parser.add_argument("--places", type=int, default=6, help="columns (6)")
    parser.add_argument("--no-curves", action="store_true", help="no curves.png, which needs MLflow")
    parser.add_argument("--out", type=path, default="explanations", metavar="URI", help="folder (explanations)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Draw and say where; returns the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for torch and MLflow.
    from pipeline.core import storage
    from pipeline.explain.page import png
    from pipeline.registry.locate import mlflow_uri
    from pipeline.two_stream.curves import curves_table, draw_curves, read_curves
    from pipeline.two_stream.explain import class_of, open_explainer, some_videos
    from pipeline.two_stream.figures import draw_attention, draw_layers
    from pipeline.two_stream.system import System

    root, out = args.storage, args.out
    systems = [System.open(root, name) for name in args.systems]
    first, data = systems[0], systems[0].recipe.data

    def write(name: str, content: bytes) -> None:
        storage.publish_bytes(storage.join(out, name), content)
        print(here(storage.join(out, name)), flush=True)

    explainer = open_explainer(first, args.places)
    ids = args.ids or some_videos(explainer.data, data.test_split, data.fold, args.videos)
    asked = class_of(args.asked, first.classes)
    for number, video in enumerate(ids, start=1):
        explained = explainer.explain(video, asked)
        write(f"layers-{number}.png", png(draw_layers(explained, first.name)))
        if explained.attention:
            write(f"attention-{number}.png", png(draw_attention(explained, first.name)))
    if not args.no_curves:
        curves = [read_curves(one, one.recipe.tracking.uri or mlflow_uri(root)) for one in systems]
        write("curves.png", draw_curves(curves))
        print(curves_table(curves), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
