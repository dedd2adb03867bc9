"""The demo of the annotation page leaves a page that works: both links, pictures, examples, what-ifs; and it ends."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.annotate.simulate import Client

ROOT = Path(__file__).parents[2]


def read_links(server):
    """What the page's links are, once it is served; stops reading there."""
    links, seen = {}, []
    for line in server.stdout:
        seen.append(line)
        if found := re.match(r"invitation for .* \((\w+)\): (\S+)/#invite=(\S+)$", line):
            links[found[1]] = (found[2], found[3])
        if line.startswith("serving at"):
            return links
    raise AssertionError("".join(seen)[-4000:])


@pytest.mark.ray
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_both_links_lead_to_a_page_with_clips_examples_and_what_ifs(tmp_path):
    environment = os.environ | {
        "STAR_LAPTOP_HOME": str(tmp_path / "home"),
        "STAR_LAPTOP_PORT": "26599",
        "STAR_LAPTOP_DASHBOARD_PORT": "28485",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    demo = str(tmp_path / "demo")
    command = [sys.executable, "jobs/demo_annotate.py", "--demo", demo, "--out", str(tmp_path / "out")]
    command += ["--port", "28765"]
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as server:
        try:
            links = read_links(server)
            assert set(links) == {"annotator", "admin"}
            for role, (address, token) in links.items():
                client = Client(address)
                assert client.sign_in(token)["role"] == role
                if role == "annotator":
                    use(client)
                client.close()
        finally:
            server.send_signal(signal.SIGINT)
        server.communicate()
    assert server.returncode in (0, 130, -signal.SIGINT)


def use(client):
    """Look at a clip as the page does: its frames, examples, and what the network says of an edit."""
    (campaign,) = client.call("GET", "/campaigns")
    wish = {"campaign": campaign["id"], "mode": "annotate", "tab": "t"}
    lease = client.call("POST", "/leases", wish, operation=True)["lease"]
    item = client.call("GET", f"/items/{lease['item']}?tab=t")
    assert item["examples"]
    half = item["num_frames"] // 2
    scores = [1.0] * half + [0.0] * (item["num_frames"] - half)
    answer = client.call("POST", f"/items/{item['uid']}/whatif", {"scores": scores})
    assert answer["before"]["true_score"] != answer["after"]["true_score"]
    assert answer["before"]["true_rank"] > 1  # it was mined because the network is wrong
