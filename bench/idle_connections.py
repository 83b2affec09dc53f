#!/usr/bin/env python3
"""What open connections cost: resident memory of the server with idle keep-alive connections, then with streams beside
them, and the CPU time that it takes with nothing to do. A tiny model on the CPU backend, so that the network shows. The KV
cache, whose pages become resident as tokens are written, is taken once at the start and counted by itself.

usage: idle_connections.py [--idle 5000] [--streams 500] [--workers 1] [--seconds 10]   (SPATE names the program)"""
import argparse
import os
import pathlib
import resource
import selectors
import socket
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tests/e2e"))
from spate_server import Engine, Server, post_bytes  # noqa: E402

GET = b"GET /live HTTP/1.1\r\nHost: bench\r\n\r\n"


def cpu_seconds(server):
    fields = pathlib.Path(f"/proc/{server.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(server):
    """Resident bytes without the KV cache, the largest mapping that is of no file, and those of the cache."""
    cache = (0, 0)
    for line in pathlib.Path(f"/proc/{server.process.pid}/smaps").read_text().splitlines():
        fields = line.split()
        if "-" in fields[0]:
            named = len(fields) > 5
        elif fields[0] == "Size:":
            size = int(fields[1])
        elif fields[0] == "Rss:" and not named:
            cache = max(cache, (size, int(fields[1]) * 1024))
    return server.resident_bytes() - cache[1], cache[1]


def open_idle(server, count):
    """Connections that each have had one answer."""
    clients = [server.socket() for _ in range(count)]
    for client in clients:
        client.sendall(GET)
    for client in clients:
        received = b""
        while b"}" not in received:
            received += client.recv(4096)
    return clients


def hold_streams(server, count, seconds):
    """Reads streams that do not end meanwhile; returns them with the resident bytes at the end and how many have text."""
    body = post_bytes({"prompt": "Once", "max_tokens": Engine.MAX_SEQ_LEN // 4, "streaming": True})
    chooser, clients, begun = selectors.DefaultSelector(), [], set()
    for _ in range(count):
        clients.append(server.socket())
        clients[-1].sendall(body)
        chooser.register(clients[-1], selectors.EVENT_READ)
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key, _ in chooser.select(timeout=0.1):
            received = key.fileobj.recv(1 << 16)
            if not received:
                raise SystemExit("A stream has ended before its time.")
            if b'"text"' in received:
                begun.add(key.fileobj)
    return clients, memory(server), len(begun)


def main():
    parser = argparse.ArgumentParser()
    for name, default in (("idle", 5000), ("streams", 500), ("workers", 1), ("seconds", 10)):
        parser.add_argument(f"--{name}", type=int, default=default)
    given = parser.parse_args()
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    engine = Engine("--max-batch-size", str(max(given.streams, 1)), "--max-num-tokens", str(max(given.streams, 1)))
    # The server starts with the usual soft limit and has to raise its own.
    resource.setrlimit(resource.RLIMIT_NOFILE, (1024, hard))
    server = Server(engine, "--limit-concurrency", str(given.idle + given.streams + 100), "--timeout-keep-alive", "600",
                    "--workers", str(given.workers), backend="cpu")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    with server:
        warm, _, _ = hold_streams(server, min(8, given.streams), 1)  # what the first ones bring is no connection's
        for client in warm:
            client.close()
        before, _ = memory(server)
        idle = open_idle(server, given.idle)
        (with_idle, _), cpu = memory(server), cpu_seconds(server)
        time.sleep(given.seconds)
        cpu = cpu_seconds(server) - cpu
        streams, (with_streams, cache), begun = hold_streams(server, given.streams, given.seconds)
        print(f"{len(idle)} idle connections: {(with_idle - before) / given.idle / 1024:.2f} KiB each, "
              f"CPU {100 * cpu / given.seconds:.2f} % of one core over {given.seconds} s")
        if streams:
            print(f"{len(streams)} streams beside them ({begun} have text): "
                  f"{(with_streams - with_idle) / given.streams / 1024:.2f} KiB each")
        print(f"together {(with_streams - before) / (given.idle + given.streams) / 1024:.2f} KiB each, "
              f"resident {with_streams / 2**20:.1f} MiB and {cache / 2**20:.1f} of the KV cache")
    engine.remove()


if __name__ == "__main__":
    main()
