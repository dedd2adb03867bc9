"""jobs/serve_annotation.py: what it prints, what it refuses, and that what it prints works."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from jobs import serve_annotation
from pipeline.annotate.security import check_address
from pipeline.core.errors import UserError

ROOT = Path(__file__).parents[2]


def test_the_printed_invitation_opens_the_printed_address(tmp_path):
    command = [sys.executable, "jobs/serve_annotation.py", "--database", str(tmp_path / "a.db"), "--port", "0"]
    command += ["--invite", "Ada Lovelace", "--role", "admin", "--batches", str(tmp_path / "batches")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ}) as child:
        invitation, address = child.stdout.readline(), child.stdout.readline()
        try:
            found = re.fullmatch(
                r"invitation for Ada Lovelace \(admin\): (http://127\.0\.0\.1:\d+)/#invite=(\S+)\n", invitation
            )
            assert address == f"serving at {found[1]}\n"
            with httpx.Client(base_url=found[1], verify=False) as http:
                me = http.post("/api/v1/session", json={"token": found[2]}).json()
                assert (me["name"], me["role"]) == ("Ada Lovelace", "admin")
                assert http.get("/api/v1/users").json()[0]["id"] == me["id"]
                assert http.get("/").headers["content-type"].startswith("text/html")
        finally:
            child.send_signal(signal.SIGTERM)
        assert child.wait(60) in (0, -signal.SIGTERM)


def test_an_address_that_others_reach_needs_tls():
    for host in ("127.0.0.1", "localhost", "::1"):
        check_address(host, tls=False, behind_proxy=False)
    for host in ("0.0.0.0", "::", "192.0.2.7"):
        with pytest.raises(UserError, match="Other machines would reach"):
            check_address(host, tls=False, behind_proxy=False)
        check_address(host, tls=True, behind_proxy=False)
        check_address(host, tls=False, behind_proxy=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--host", "0.0.0.0"], "Other machines would reach"),
        (["--tls-cert", "cert.pem"], "TLS needs both files"),
        (["--campaign", "nowhere"], "There is no campaign"),
        (["--database", "mysql://x/y"], "cannot be used"),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, arguments, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=said):
        serve_annotation.main(["--no-serve", "--port", "0", *arguments])


def test_people_can_be_invited_without_serving(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert serve_annotation.main(["--invite", "Ada", "Ben", "--no-serve", "--port", "0"]) == 0
    assert capsys.readouterr().out.count("invitation for") == 2
    assert (tmp_path / "annotations.db").exists()


def test_a_port_in_use_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        with pytest.raises(UserError, match="Cannot listen"):
            serve_annotation.main(["--no-serve", "--port", port])
