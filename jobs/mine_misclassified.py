#!/usr/bin/env python3
"""Find the training clips that a network gets wrong, and make a campaign of them for people to annotate.

    python jobs/mine_misclassified.py --run stabn_r50_ssv2-20260101-120000 --out campaigns/first
    python jobs/mine_misclassified.py --run NAME --on train --below 0.4 --most 0 --out s3://BUCKET/campaigns/first

Scores every training and validation clip, takes the classes whose top-1 is below --below on both splits (the --most
lowest), and writes their misclassified training clips with the temporal attention of every frame to --out, for
jobs/serve_annotation.py --campaign. With --on train no validation label is looked at. --spatial lets people also paint
where to look, on 14 x 14 cells of a frame, over the network's own map: jobs/finetune_edits.py --gamma-s learns from it.
"""

import argparse
import sys
from collections.abc import Sequence

from jobs.cli import guarded, here, path, trained


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--run", type=trained, required=True, metavar="NAME|ID|URI", help="run, MLflow id, or a checkpoint's folder"
    )
    parser.add_argument("--which", choices=("best", "last"), default="best", help="checkpoint of the run (best)")
    parser.add_argument("--storage", type=path, default="runs", metavar="URI", help="run storage (runs)")
    parser.add_argument("--data", type=path, default="", metavar="ROOT", help="prepared data set (the training's)")
    parser.add_argument("--out", type=path, required=True, metavar="URI", help="folder of the campaign")
    parser.add_argument("--name", default="", help="name of the campaign (the run's)")
    parser.add_argument("--below", type=float, default=0.5, metavar="SHARE", help="top-1 of the classes taken (0.5)")
    parser.add_argument("--on", choices=("both", "train"), default="both", help="splits that choose classes (both)")
    parser.add_argument("--most", type=int, default=8, metavar="N", help="classes at most, 0 for all (8)")
    parser.add_argument(
        "--truth", type=path, default="", metavar="FILE", help="make_synth's truth.parquet: gives example clips"
    )
    parser.add_argument("--spatial", action="store_true", help="people also say where, on 14 x 14 cells of a frame")
    parser.add_argument("--guide", default="", help="what annotators should know")
    parser.add_argument("--double-share", type=float, default=0.15, help="clips annotated by two people (0.15)")
    parser.add_argument("--heldout-share", type=float, default=0.1, help="clips annotated, never trained on (0.1)")
    parser.add_argument("--actors", type=int, default=1, help="processes that run the network (1)")
    parser.add_argument("--cpus-per-actor", type=float, default=1.0, help="logical CPUs of each (1)")
    parser.add_argument("--data-cpus", type=float, default=1.0, help="logical CPUs for decoding (1)")
    parser.add_argument("--batch", type=int, default=8, help="clips of a forward pass (8)")
    parser.add_argument("--gpu", action="store_true", help="one GPU for each actor")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of an actor (1)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Mine, write the campaign, and return the exit status."""
    args = parse(arguments)

    # After parsing, so that --help does not wait for Ray and MLflow.
    from pipeline.annotate.campaign import CampaignSettings, write_campaign
    from pipeline.annotate.simulate import levels_of
    from pipeline.core import ray_session, storage
    from pipeline.data.store.prepared import PreparedDataset
    from pipeline.eval.evaluate import check_data
    from pipeline.eval.load import load
    from pipeline.eval.predict import PredictJob
    from pipeline.eval.protocol import protocol_of
    from pipeline.eval.truth import read_truth
    from pipeline.finetune.mining import Rule, mine, new_campaign
    from pipeline.registry import locate

    checkpoint = locate.find_checkpoint(args.run, args.storage, args.which)
    network = load(checkpoint)
    dataset = PreparedDataset.open(args.data or network.recipe.data.root)
    check_data(network, dataset, allow_other=False)
    job = PredictJob(
        checkpoint=checkpoint,
        split=network.recipe.data.train_split,
        fold=network.recipe.data.fold,
        protocol=protocol_of(network.recipe.clip),
        batch=args.batch,
        actors=args.actors,
        gpu=args.gpu,
        cpus_per_actor=args.cpus_per_actor,
        data_cpus=args.data_cpus,
        threads=args.threads,
        precision=network.precision,
    )
    truth = {video: levels_of(active_V) for video, active_V in read_truth(args.truth).items()} if args.truth else None
    shares = {"double_share": args.double_share, "heldout_share": args.heldout_share, "gold_share": 0.0}
    settings = CampaignSettings(**shares, spatial=args.spatial)
    name = storage.absolute(args.run).rstrip("/").rsplit("/", 1)[-1]
    blank = new_campaign(args.name or name, f"{name}, step {network.step}", dataset, args.guide, settings)
    ray_session.connect(job.cpus())
    mined = mine(network, dataset, job, Rule(below=args.below, on=args.on, most=args.most), blank, truth)
    storage.write_json(storage.join(args.out, "mining.json"), {**mined.facts, "checkpoint": checkpoint})
    write_campaign(args.out, mined.campaign)
    print(mined.sentence(), flush=True)
    print(f"  campaign  {here(args.out)}\n  serve     jobs/serve_annotation.py --campaign {here(args.out)}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
