#!/usr/bin/env python3
"""Compute the TV-L1 flow of a prepared data set, or move flow from and to the tree of pictures that others read.

    python jobs/extract_flow.py --data /prepared/ucf101 --size 340x256
    python jobs/extract_flow.py --data /prepared/ucf101 --import-tree /rawframes --out /flow/ucf101
    python jobs/extract_flow.py --data /prepared/ucf101 --flow /flow/ucf101 --export /rawframes
    ray job submit --working-dir . -- jobs/extract_flow.py (the same arguments)

Run it again after anything - new videos, a kill, a lost node - and it does what is left; what was killed ends with the
bytes of an undisturbed run. With --gpus, a GPU actor on each and the CPU tasks take shards from the same queue.

Exit status: 0 done; 1 an unexpected error; 2 the request is wrong (the message says how to mend it);
3 done, but more videos are quarantined than --allow-quarantine permits.
"""

import argparse
import sys
from collections.abc import Sequence

from jobs.cli import TOO_MANY_QUARANTINED, allowed_of, guarded, path
from pipeline.core import ray_session
from pipeline.data.prepare.progress import Progress
from pipeline.data.store import catalog
from pipeline.data.store.prepared import PreparedDataset
from pipeline.flow.dataset import default_root, find
from pipeline.flow.extract import ExtractOptions, Tell, extract
from pipeline.flow.on_ray import on_ray
from pipeline.flow.request import PRESETS, config_of, imported_config, workers_of
from pipeline.flow.shard_task import FlowTask
from pipeline.flow.summary import summary, too_many
from pipeline.flow.tree import Tree, export


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    what = parser.add_argument_group("what")
    what.add_argument(
        "--data", type=path, required=True, metavar="ROOT", help="prepared data set; every node must reach it"
    )
    what.add_argument(
        "--out", type=path, default="", metavar="URI", help="the flow set (DATA/flow/, a digest of settings)"
    )
    tree = what.add_mutually_exclusive_group()
    tree.add_argument(
        "--import-tree", type=path, metavar="DIR", help="take flow from DIR/VIDEO/flow_[xy]_00001.jpg as it is"
    )
    tree.add_argument("--export", type=path, metavar="DIR", help="write DIR/VIDEO/{img,flow_x,flow_y}_00001.jpg")
    what.add_argument("--from-zero", action="store_true", help="the imported tree counts pairs from 0, as denseflow")
    what.add_argument(
        "--flow", type=path, default="", metavar="ROOT", help="flow set to export (the only one in DATA/flow)"
    )
    what.add_argument("--img", choices=("first", "second"), default="first", help="frame of a pair that img_i exports")
    how = parser.add_argument_group("how")
    how.add_argument("--preset", choices=sorted(PRESETS), default="opencv-cpu", help="settings of TV-L1 (opencv-cpu)")
    how.add_argument("--tvl1", nargs="+", default=[], metavar="KEY=VALUE", help="change the preset: epsilon=0.02")
    how.add_argument("--bound", type=float, default=20.0, help="pixels of motion that level 255 stands for (20)")
    how.add_argument("--size", default="", help="WxH to which grey frames are resized first, such as TSN's 340x256")
    how.add_argument("--codec", choices=("jpeg", "png"), default="jpeg", help="jpeg of quality 95, or png: no loss")
    how.add_argument("--backend", choices=("numba", "triton", "opencv"), default="", help="numba; with --gpus triton")
    how.add_argument("--mix-backends", action="store_true", help="CPU and GPU results may stand in one set")
    how.add_argument("--cpus", type=float, default=1.0, help="logical CPUs of a task, and its threads (1)")
    how.add_argument("--gpus", type=int, default=0, help="GPUs that extract (0); add --mix-backends for CPUs too")
    how.add_argument("--gpu-cpus", type=float, default=4.0, help="logical CPUs that decode and encode for a GPU (4)")
    bad = parser.add_argument_group("what to do about trouble")
    bad.add_argument("--allow-quarantine", default="0", help="videos without flow that are fine: 12, or 0.001 (0)")
    bad.add_argument("--retry", action="store_true", help="do shards with quarantined or noted videos again")
    bad.add_argument("--verify", action="store_true", help="hash every shard again, redo what differs")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Extract, import or export, print the summary, and return the exit status."""
    args = parse(arguments)
    prepared = PreparedDataset.open(args.data)
    if args.export:
        return _export(prepared, args)
    allowed = allowed_of(args.allow_quarantine, catalog.count(prepared.rows).readable)
    tree = Tree(args.import_tree, 0 if args.from_zero else 1) if args.import_tree else None
    computed = config_of(args.preset, args.tvl1, bound=args.bound, size=args.size, codec=args.codec)
    config = imported_config(args.bound) if tree else computed
    root = args.out or default_root(prepared, config)
    workers, backends = workers_of(
        config, backend=args.backend, cpus=args.cpus, gpus=args.gpus, gpu_cpus=args.gpu_cpus, mix=args.mix_backends
    )

    def engine(tasks: Sequence[FlowTask], tell: Tell) -> None:
        ray_session.connect(args.cpus)  # only now: a run without work needs no cluster
        on_ray(workers)(tasks, tell)

    options = ExtractOptions(backends=backends, mix=args.mix_backends, verify=args.verify, retry=args.retry)
    print(f"{prepared.name}: flow of {catalog.count(prepared.rows).readable:,} videos, to {root}", flush=True)
    report = extract(prepared, root, config, engine, options, tree=tree, tell_of=_progress)
    print(summary(report, root), flush=True)
    if report.counts.quarantined > allowed:
        print(f"exit status {TOO_MANY_QUARANTINED}: {too_many(report, allowed, root)}", file=sys.stderr)
        return TOO_MANY_QUARANTINED
    return 0


def _export(prepared: PreparedDataset, args: argparse.Namespace) -> int:
    flow = find(prepared, args.flow)
    tell = _progress(sum(video.pairs for video in flow.videos.values()))
    written = export(prepared, flow, args.export, image=args.img, tell=lambda pairs: tell(pairs, 0))
    absent = len(flow.rows) - len(flow.videos)
    print(f"{len(flow.videos):,} videos exported, {written:,} of them now; {absent:,} have no flow", flush=True)
    print(f"{args.export}: img_i is the {args.img} frame of pair i; bound {flow.bound:g}", flush=True)
    return 0


def _progress(pairs: int) -> Progress:
    return Progress(pairs, lambda line: print(line, flush=True), unit="pairs")


if __name__ == "__main__":
    sys.exit(guarded(main))
