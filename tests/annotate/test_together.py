"""Many people at once, answers lost on the way, and a server killed at random: nothing acknowledged is lost."""

import collections
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import pytest
import sqlalchemy as sa

from pipeline.annotate import audit, people
from pipeline.annotate.database import Database
from pipeline.annotate.importing import import_campaign
from pipeline.annotate.simulate import Client, Habits, annotate
from pipeline.annotate.tables import drafts, items, operations, submissions, tasks

ROOT = Path(__file__).parents[2]


class Lossy(httpx.BaseTransport):
    """Loses some answers after the server has acted, and keeps what the client was told."""

    def __init__(self, seed, loss):
        self._inner = httpx.HTTPTransport(verify=False, retries=0)
        self._random, self._loss = random.Random(seed), loss
        self.lost = set()
        """Operation ids whose request was carried out and whose first answer never came."""
        self.told = []
        """Operation id, method, path, body and answer of every acknowledged write."""

    def handle_request(self, request):
        response = self._inner.handle_request(request)
        response.read()
        operation = request.headers.get("Operation-Id")
        if operation and response.status_code == 200:
            if self._random.random() < self._loss and operation not in self.lost:
                self.lost.add(operation)
                raise httpx.ReadError("lost on the way")
            body, answer = json.loads(request.content), json.loads(response.content)
            self.told.append((operation, request.method, request.url.path, body, answer))
        return response

    def close(self):
        self._inner.close()


def work_together(address, tokens, campaigns, truth_of, loss, habits):
    """Let everybody annotate; returns what each was told, what was lost, and how many answers were repetitions."""
    transports = [Lossy(n, loss) for n in range(len(tokens))]
    replayed, faults = [0] * len(tokens), []

    def work(n):
        client = Client(address, transports[n], patience_s=300)
        try:
            client.sign_in(tokens[n])
            for campaign in campaigns:
                annotate(client, campaign, lambda item: truth_of(item["num_frames"]), habits, n)
            replayed[n] = client.replayed
        except Exception as error:
            faults.append(error)
        finally:
            client.close()

    threads = [threading.Thread(target=work, args=(n,)) for n in range(len(tokens))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert faults == []
    return [told for t in transports for told in t.told], set().union(*(t.lost for t in transports)), sum(replayed)


def check_nothing_was_lost(database, told):
    """Compare what clients were told with what the store holds."""
    with database.read() as connection:
        kept = {row.operation: row for row in connection.execute(sa.select(operations))}
        versions = {row.task: row for row in connection.execute(sa.select(drafts))}
        finished = {(row.item, row.user): row for row in connection.execute(sa.select(submissions))}
        claims = [line for line in _whole_record(connection) if line.action == "claim"]
    assert {operation for operation, *_ in told} <= kept.keys()
    highest = collections.Counter()
    for operation, method, path, body, answer in told:
        row = kept[operation]
        assert row.answer == answer
        if method == "PUT":
            highest[row.task] = max(highest[row.task], answer["version"])
            assert row.request["answer"]["scores"] == body["scores"]
        elif path.endswith("/submit"):
            assert finished[path.split("/")[-2], row.user].answer["scores"] == body["scores"]
    for task, version in highest.items():
        assert versions[task].version >= version
    # Nobody's lease lapsed, so each task was claimed once: a second claim would have been a second holder.
    assert len(claims) == len({(line.subject, line.detail["purpose"]) for line in claims})


def _whole_record(connection):
    lines = []
    while page := audit.read(connection, lines[-1].sequence if lines else 0, 500):
        lines += page
    assert audit.intact(lines)
    return lines


@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_74_people_at_once_with_a_bad_network(kind, serve, new_database, make_campaign, truth_of):
    folder, campaign = make_campaign(double_share=0.5)
    with serve(new_database(kind), folder) as server:
        tokens = [server.invite(f"person {n}") for n in range(74)]
        told, lost, replayed = work_together(server.address, tokens, [campaign.id], truth_of, 0.1, Habits(saves=2))
        check_nothing_was_lost(server.database, told)
        assert replayed == len(lost) > 10  # every repetition was recognised
        with server.database.read() as connection:
            assert connection.scalar(sa.select(sa.func.max(tasks.c.fence))) == 1
            states = set(connection.scalars(sa.select(items.c.state)))
        assert states <= {"resolved", "needs_second"}


class Process:
    """The service as a process that can be killed and started again at the same address."""

    def __init__(self, where, folders, batches):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{self.port}"
        self._command = [sys.executable, str(ROOT / "jobs" / "serve_annotation.py"), "--database", where]
        self._command += ["--campaign", *folders, "--port", str(self.port), "--batches", batches]

    def start(self):
        self._child = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True, cwd=ROOT)
        line = self._child.stdout.readline()
        assert line == f"serving at {self.address}\n"

    def kill(self):
        self._child.send_signal(signal.SIGKILL)
        self._child.wait()
        self._child.stdout.close()

    def stop(self):
        self._child.send_signal(signal.SIGTERM)
        status = self._child.wait(60)
        self._child.stdout.close()
        return status


def kill_at_random(server, kills, seed, stop):
    """Kill and restart the server again and again until `stop` or `kills` times; returns how often."""
    chance = random.Random(seed)
    for done in range(kills):
        if stop.wait(chance.uniform(0.3, 1.5)):
            return done
        server.kill()
        server.start()
    return kills


def run_with_kills(kind, people_count, kills, campaigns_count, fixtures, habits):
    new_database, make_campaign, truth_of, tmp_path = fixtures
    where = new_database(kind)
    database = Database(where)
    made = [make_campaign(double_share=0.5) for _ in range(campaigns_count)]
    for folder, _ in made:
        import_campaign(database, folder)
    with database.write() as connection:
        tokens = [
            people.invite(connection, time.time(), "system", f"person {n}", "annotator").token
            for n in range(people_count)
        ]
    server = Process(where, [folder for folder, _ in made], str(tmp_path))
    server.start()
    stop, killed = threading.Event(), []
    killer = threading.Thread(target=lambda: killed.append(kill_at_random(server, kills, 0, stop)))
    killer.start()
    try:
        names = [campaign.id for _, campaign in made]
        told, _, _ = work_together(server.address, tokens, names, truth_of, 0.05, habits)
    finally:
        stop.set()
        killer.join()
        assert server.stop() in (0, -signal.SIGTERM)  # uvicorn finishes, then lets the signal end the process
    check_nothing_was_lost(database, told)
    database.close()
    return killed[0]


def test_a_killed_server_loses_nothing_that_it_acknowledged(new_database, make_campaign, truth_of, tmp_path):
    fixtures = (new_database, make_campaign, truth_of, tmp_path)
    assert run_with_kills("sqlite", 6, 1, 1, fixtures, Habits(saves=3, pause_s=0.1)) == 1


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", ["sqlite", "postgresql"])
def test_74_people_and_a_server_killed_again_and_again(kind, new_database, make_campaign, truth_of, tmp_path):
    fixtures = (new_database, make_campaign, truth_of, tmp_path)
    assert run_with_kills(kind, 74, 4, 2, fixtures, Habits(saves=4, pause_s=0.2)) >= 2


def test_the_store_survives_a_kill_between_any_two_operations(lite, loaded, person_in):
    """Without a server: a process that is killed within a transaction leaves the state before it."""
    loaded(lite)
    person_in(lite)
    where = lite.url.database
    lite.close()
    reader, writer = os.pipe()
    child = subprocess.Popen(
        [
            sys.executable,
            "-c",
            "import sys, time, os, sqlalchemy as sa\n"
            "from pipeline.annotate.database import Database\n"
            "from pipeline.annotate.tables import users\n"
            "with Database(sys.argv[1]).write() as connection:\n"
            "    connection.execute(sa.update(users).values(name='half'))\n"
            "    os.write(int(sys.argv[2]), b'x')\n"
            "    time.sleep(60)\n",
            where,
            str(writer),
        ],
        pass_fds=[writer],
        cwd=ROOT,
    )
    assert os.read(reader, 1) == b"x"
    child.kill()
    child.wait()
    os.close(reader)
    os.close(writer)
    again = Database(where)
    with again.read() as connection:
        assert connection.exec_driver_sql("SELECT name FROM users").scalar() == "Ada"
        assert connection.exec_driver_sql("PRAGMA integrity_check").scalar() == "ok"
    again.close()
