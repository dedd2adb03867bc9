#!/usr/bin/env python3
"""Let programs annotate a campaign through HTTP, as people would, from the known truth of synthetic videos.

    python jobs/simulate_annotators.py --invitation LINK --campaign campaigns/first --truth data/synth/truth.parquet

LINK is an admin's, as jobs/serve_annotation.py --role admin prints it. The admin invites --people annotators, who work
at the same time and err on --errors of the frames, then settles what second opinions disagree on, and seals a batch.
Where the campaign has the spatial layer, they also point at the object in the frames of its action, and miss it in
--errors of these.
"""

import argparse
import sys
from collections.abc import Sequence
from urllib.parse import urlsplit

from jobs.cli import guarded, path
from pipeline.core.errors import UserError, problem

INVITE = "invite="


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--invitation", required=True, metavar="LINK", help="an admin's, not used yet")
    parser.add_argument("--campaign", type=path, required=True, metavar="URI", help="folder of the campaign")
    parser.add_argument("--truth", type=path, required=True, metavar="FILE", help="truth.parquet of make_synth")
    parser.add_argument("--people", type=int, default=8, help="annotators (8)")
    parser.add_argument(
        "--errors", type=float, default=0.05, metavar="SHARE", help="share of frames that they err on (0.05)"
    )
    parser.add_argument("--seed", type=int, default=0, help="seed of the errors (0)")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Invite, annotate, adjudicate, seal; returns the exit status."""
    args = parse(arguments)
    link = urlsplit(args.invitation)
    if not (link.scheme and link.fragment.startswith(INVITE)):
        fix = "copy the line that jobs/serve_annotation.py --invite NAME --role admin prints"
        allowed = f"http://ADDRESS/#{INVITE}TOKEN"
        raise UserError(problem("The invitation is no link", got=args.invitation, allowed=allowed, fix=fix))

    # After parsing, so that --help does not wait for the libraries.
    from pipeline.annotate.campaign import read_campaign
    from pipeline.annotate.simulate import Client, Habits, annotate, annotate_together, believed, pointed
    from pipeline.eval.place import read_known
    from pipeline.eval.truth import read_truth

    campaign, _ = read_campaign(args.campaign)
    active = read_truth(args.truth)
    truth, where = believed(campaign, active), None
    if campaign.settings.spatial:
        known = read_known(args.truth)
        where = pointed(campaign, active, {video: one.boxes_V for video, one in known.items()})
    address, habits = f"{link.scheme}://{link.netloc}", Habits(error_rate=args.errors)
    admin = Client(address)
    try:
        admin.sign_in(link.fragment.removeprefix(INVITE))
        names = [f"annotator {number}" for number in range(1, args.people + 1)]
        tokens = [admin.call("POST", "/users", {"name": name})["token"] for name in names]
        done = annotate_together(address, tokens, campaign.id, truth, habits, args.seed, where)
        for name, one in zip(names, done, strict=True):
            print(f"  {name}: {len(one.items)} clips, {one.saves} drafts saved", flush=True)
        settled = annotate(admin, campaign.id, truth, Habits(adjudicates=True), args.seed, where=where)
        sealed = admin.call("POST", "/batches", {"campaign": campaign.id})
    finally:
        admin.close()
    print(f"  admin: {len(settled.items)} disagreements settled", flush=True)
    if not sealed["batch"]:
        fix = "look at its progress on the page; open and flagged clips are not sealed"
        what = f"Nothing of campaign {campaign.id} is resolved and not yet in a batch"
        raise UserError(problem(what, got="0 clips", allowed="one or more", fix=fix))
    agreement = sealed["manifest"]["agreement"]
    print(f"  {agreement['double']} clips answered twice, {agreement['agreed']} agreed", flush=True)
    print(f"sealed {sealed['batch']}: {sealed['manifest']['items']} clips", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(guarded(main))
