#!/usr/bin/env python3
"""Serve the annotation page: people correct when the videos of a campaign show what they show.

    python jobs/serve_annotation.py --campaign campaigns/first --run NAME --invite "Ada" --role admin
    python jobs/serve_annotation.py --database postgresql://star@db/star --host 0.0.0.0 --behind-proxy

Prints the address and, for every --invite, a personal link. Invite the first admin here; admins invite the others at
/review.html. Answers lie in --database (SQLite in WAL mode, or PostgreSQL), sealed batches in --batches. One process
serves everybody; SIGTERM lets requests finish. On any address but the loopback, cookies need TLS: give
--tls-cert and --tls-key, or --behind-proxy when a proxy in front speaks TLS and sets X-Forwarded-Proto and -For.
"""

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Sequence

from jobs.cli import address, guarded, path, trained
from pipeline.core.errors import UserError, problem


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add = parser.add_argument
    add("--campaign", type=path, nargs="+", default=[], metavar="URI", help="campaigns to take in")
    add("--database", type=address, default="annotations.db", metavar="PATH|URL", help="answers (annotations.db)")
    add("--batches", type=path, default="batches", metavar="URI", help="folder of sealed batches (batches)")
    add("--run", type=trained, default="", metavar="NAME|ID|URI", help="network that answers what-ifs (none)")
    add("--storage", type=path, default="runs", metavar="URI", help="run storage (runs)")
    add("--invite", nargs="+", default=[], metavar="NAME", help="people to invite")
    add("--role", choices=("annotator", "reviewer", "admin"), default="annotator", help="role of --invite")
    add("--host", default="127.0.0.1", help="address to listen at (127.0.0.1)")
    add("--port", type=int, default=8765, help="port to listen at (8765); 0 takes a free one")
    add("--tls-cert", type=path, default="", metavar="FILE", help="certificate chain")
    add("--tls-key", type=path, default="", metavar="FILE", help="key of the certificate")
    add("--behind-proxy", action="store_true", help="a TLS proxy stands in front")
    add("--session-hours", type=float, default=12.0, help="idle time until people sign in again (12)")
    add("--no-serve", action="store_true", help="import and invite, then end")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Import, invite, serve; returns the exit status."""
    args = parse(arguments)
    if bool(args.tls_cert) != bool(args.tls_key):
        got = f"--tls-cert {args.tls_cert or 'absent'}, --tls-key {args.tls_key or 'absent'}"
        raise UserError(problem("TLS needs both files", got=got, allowed="both or none", fix="give the other one"))

    # After parsing, so that --help does not wait for the libraries.
    import uvicorn

    from pipeline.annotate import people
    from pipeline.annotate.app import create_app
    from pipeline.annotate.database import Database
    from pipeline.annotate.frames import Pictures
    from pipeline.annotate.importing import import_campaign
    from pipeline.annotate.security import check_address
    from pipeline.annotate.service import Service

    check_address(args.host, tls=bool(args.tls_cert), behind_proxy=args.behind_proxy)
    with contextlib.ExitStack() as closing:
        listening = closing.enter_context(_listen(args.host, args.port))
        address = f"http{'s' if args.tls_cert else ''}://{_named(listening)}"
        database = Database(args.database)
        closing.callback(database.close)
        pictures = Pictures(database, workers=max(2, (os.cpu_count() or 2) // 2))
        closing.callback(pictures.close)
        for folder in args.campaign:
            pictures.check(import_campaign(database, folder))
        for name in args.invite:
            with database.write() as connection:
                invitation = people.invite(connection, database.clock(), "system", name, args.role)
            print(f"invitation for {name} ({args.role}): {address}{invitation.path}", flush=True)
        if args.no_serve:
            return 0
        whatif = None
        if args.run:  # a service without a network needs no torch
            from pipeline.finetune.whatif import open_desk

            whatif = open_desk(args.run, args.storage, database, pictures)
        service = Service(
            database,
            pictures,
            args.batches,
            whatif=whatif,
            session_s=args.session_hours * 3600,
            secure=bool(args.tls_cert) or args.behind_proxy,
        )
        config = uvicorn.Config(
            create_app(service),
            log_level="warning",
            ssl_certfile=args.tls_cert or None,
            ssl_keyfile=args.tls_key or None,
            proxy_headers=args.behind_proxy,
            server_header=False,
            timeout_graceful_shutdown=10,
        )
        print(f"serving at {address}", flush=True)
        uvicorn.Server(config).run(sockets=[listening])
    return 0


def _listen(host: str, port: int) -> socket.socket:
    try:
        return socket.create_server((host, port), family=socket.getaddrinfo(host, None)[0][0])
    except OSError as error:
        allowed, fix = "a free port of an address of this machine", "stop what listens there, or give another --port"
        raise UserError(problem(f"Cannot listen ({error})", got=f"{host}:{port}", allowed=allowed, fix=fix)) from error


def _named(listening: socket.socket) -> str:
    host, port = listening.getsockname()[:2]
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


if __name__ == "__main__":
    sys.exit(guarded(main))
