#!/usr/bin/env python3
"""How long a save takes when everybody annotates at once, and how many saves a second there could be.

    python benchmarks/annotation.py [--people 74] [--rate 30] [--seconds 60] [--database postgresql://...]

Starts jobs/serve_annotation.py over synthetic videos of some 45 frames, signs everybody in and leases everybody a clip.
Then two loads, one after the other: `paced`, everybody saves at random moments, RATE saves a second together, the
latency counted from the moment that the save was due (a late start is a wait too); and `saturated`, everybody saves
again as soon as the last save is answered. Every save is a transaction with its operation recorded. The clients run on
the same machine, so they compete with the server for its cores.
"""

import argparse
import asyncio
import os
import platform
import random
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import httpx
import numpy as np

from pipeline.annotate import people
from pipeline.annotate.campaign import Campaign, CampaignItem, CampaignSettings, write_campaign
from pipeline.annotate.database import Database
from pipeline.data.listing.sources import load_listing
from pipeline.data.prepare.ingest import IngestConfig
from pipeline.data.prepare.run import PrepareConfig, in_process, prepare
from pipeline.data.store.prepared import PreparedDataset
from pipeline.data.synth.config import SynthConfig
from pipeline.data.synth.generate import SynthRequest, make

ROOT = Path(__file__).parents[1]


@dataclass
class Annotator:
    """One person with a clip at hand."""

    http: httpx.AsyncClient
    item: str
    lease: str
    frames: int
    version: int = 0
    took_s: list[float] = field(default_factory=list)

    async def save(self, due_s: float) -> None:
        """Save the clip once more, and note how long it took since it was due."""
        body = {"scores": [0.5] * self.frames, "sources": ["human"] * self.frames, "init": "model", "seconds": 1}
        headers = {"If-Match": str(self.version), "Lease-Token": self.lease, "Operation-Id": uuid.uuid4().hex}
        answer = await self.http.put(f"/items/{self.item}/draft", json=body, headers=headers)
        answer.raise_for_status()
        self.version = answer.json()["version"]
        self.took_s.append(time.perf_counter() - due_s)


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--people", type=int, default=74)
    parser.add_argument("--rate", type=float, default=30.0, help="saves a second, of all together (30)")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each load (60)")
    parser.add_argument("--database", default="", help="an empty database's URL; a new SQLite file when absent")
    return parser.parse_args(arguments)


def campaign_in(folder: Path, clips: int) -> tuple[str, str]:
    """Make videos, prepare them, and write a campaign over all of them; returns its folder and id."""
    config = SynthConfig(train=clips, validation=1, test=0, frames=(40, 50), widths=(64,), heights=(48,))
    make(folder / "videos", SynthRequest("folder", config), workers=os.cpu_count() or 1)
    prepare(
        load_listing("folder", str(folder / "videos")),
        str(folder / "data"),
        PrepareConfig(ingest=IngestConfig()),
        in_process,
    )
    dataset = PreparedDataset.open(str(folder / "data"))
    items = tuple(
        CampaignItem(
            video=video.id,
            label=video.label,
            predicted=video.label,
            top5=(video.label,),
            top5_scores=(1.0,),
            true_score=1.0,
            true_rank=1,
            margin=0.0,
            num_frames=video.frames,
            attention_V=np.full(video.frames, 0.5, np.float32),
            window=(0, 32, 1),
            windows=((0, 32, 1),),
            priority=0.0,
        )
        for video in dataset.videos("train")
    )
    campaign = Campaign(
        name="benchmark",
        model="none",
        dataset=dataset.name,
        classes=dataset.classes,
        passport=dataset.passport,
        root=dataset.root,
        rule="all",
        settings=CampaignSettings(double_share=0.0),
        items=items,
    )
    write_campaign(str(folder / "campaign"), campaign)
    return str(folder / "campaign"), campaign.id


async def arrive(address: str, tokens: Sequence[str], campaign: str) -> list[Annotator]:
    """Sign everybody in and lease everybody a clip."""
    arrived = []
    for number, token in enumerate(tokens):
        http = httpx.AsyncClient(base_url=f"{address}/api/v1", timeout=60, verify=False)
        (await http.post("/session", json={"token": token})).raise_for_status()
        wish, headers = {"campaign": campaign, "tab": f"tab{number}"}, {"Operation-Id": uuid.uuid4().hex}
        lease = (await http.post("/leases", json=wish, headers=headers)).json()["lease"]
        item = (await http.get(f"/items/{lease['item']}")).json()
        arrived.append(Annotator(http, lease["item"], lease["token"], item["num_frames"]))
    return arrived


async def paced(annotator: Annotator, every_s: float, until: float, seed: int) -> None:
    """Save at random moments, `every_s` apart in the mean."""
    chance = random.Random(seed)
    due_s = time.perf_counter() + chance.uniform(0, every_s)
    while due_s < until:
        await asyncio.sleep(max(0.0, due_s - time.perf_counter()))
        await annotator.save(due_s)
        due_s += chance.uniform(0.5, 1.5) * every_s


async def saturated(annotator: Annotator, until: float) -> None:
    """Save again and again."""
    while time.perf_counter() < until:
        await annotator.save(time.perf_counter())


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used; 0 where the system does not say."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except FileNotFoundError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


async def measure(address: str, tokens: Sequence[str], campaign: str, args: argparse.Namespace, server: int) -> None:
    """Run both loads and print a line for each."""
    arrived = await arrive(address, tokens, campaign)
    for name in ("paced", "saturated"):
        begin, cpu_begin_s = time.perf_counter(), cpu_s(server)
        if name == "paced":
            every_s = len(arrived) / args.rate
            loads = [paced(one, every_s, begin + args.seconds, number) for number, one in enumerate(arrived)]
        else:
            loads = [saturated(one, begin + args.seconds) for one in arrived]
        await asyncio.gather(*loads)
        took_s, used_s = time.perf_counter() - begin, cpu_s(server) - cpu_begin_s
        all_ms = 1000 * np.sort(np.concatenate([one.took_s for one in arrived]))
        p50, p90, p99 = np.percentile(all_ms, [50, 90, 99])
        print(
            f"{name:10s} {len(all_ms):6d} saves {len(all_ms) / took_s:7.1f} /s   p50 {p50:7.1f}   p90 {p90:7.1f}   "
            f"p99 {p99:7.1f}   max {all_ms[-1]:7.1f} ms   server {1000 * used_s / len(all_ms):.1f} ms CPU a save",
            flush=True,
        )
        for one in arrived:
            one.took_s.clear()
    for one in arrived:
        await one.http.aclose()


def main(arguments: Sequence[str] | None = None) -> int:
    """Start the service, load it, print; returns the exit status."""
    args = parse(arguments)
    with tempfile.TemporaryDirectory(prefix="star-annotation-") as name:
        folder = Path(name)
        campaign_folder, campaign = campaign_in(folder, args.people)
        where = args.database or str(folder / "annotations.db")
        database = Database(where)
        with database.write() as connection:
            now = time.time()
            invited = [people.invite(connection, now, "system", f"person {n}", "annotator") for n in range(args.people)]
        command = [sys.executable, "jobs/serve_annotation.py", "--database", where, "--campaign", campaign_folder]
        command += ["--port", "0", "--batches", str(folder / "batches")]
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            address = server.stdout.readline().split()[-1]
            machine = f"{platform.machine()} {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}"
            asked = f"{args.people} people, {args.rate:g} saves/s asked for"
            print(f"{datetime.now(UTC):%Y-%m-%d} {machine}, {database.url.get_backend_name()}, {asked}")
            try:
                asyncio.run(measure(address, [one.token for one in invited], campaign, args, server.pid))
            finally:
                server.terminate()
        database.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
