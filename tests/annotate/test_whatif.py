"""What-if (pipeline/annotate/whatif.py) through the service, with a network whose answer can be foretold."""

import numpy as np


class Guess:
    """A network whose answer shows which attention it was given."""

    def __init__(self):
        self.asked = 0

    def scores(self, video, window, attention_V):
        self.asked += 1
        mean = 0.1 if attention_V is None else float(attention_V.mean())
        return np.array([mean, 0.4, 0.6 - mean])


def test_what_if(site, token, visit):
    network = Guess()
    address, campaign = site(whatif=network)
    page = visit(address, token())
    assert page.get("/campaigns").json()[0]["whatif"]
    lease = page.claim(campaign)
    item = page.get(f"/items/{lease['item']}").json()
    path, frames = f"/items/{item['uid']}/whatif", item["num_frames"]
    for _ in range(2):
        answer = page.send("POST", path, json={"scores": [1.0] * frames}).json()
    assert network.asked == 2  # the network's own answer and the edited one, each once
    assert [one["label"] for one in answer["before"]["top5"]] == [2, 1, 0]
    assert [one["label"] for one in answer["after"]["top5"]] == [0, 1, 2]
    assert answer["after"]["true_rank"] == [1, 2, 3][item["label"]["label"]]
    half = page.send("POST", path, json={"scores": [None] * frames}).json()
    assert half["before"] == half["after"]
    assert page.send("POST", path, json={"scores": [1.0]}).json()["code"] == "length"
    assert page.send("POST", "/items/none/whatif", json={"scores": [1.0]}).json()["code"] == "not_found"


def test_without_a_network_there_is_no_what_if(site, token, visit):
    address, campaign = site()
    page = visit(address, token())
    lease = page.claim(campaign)
    assert not page.get(f"/items/{lease['item']}").json()["whatif"]
    answer = page.send("POST", f"/items/{lease['item']}/whatif", json={"scores": [1.0]})
    assert answer.json()["code"] == "not_found"
