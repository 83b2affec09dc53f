#!/usr/bin/env python3
"""The processor time of a server that nobody asks, by the kernel's count of nanoseconds for each thread: as it has started, and
after a first request.
usage: idle_server.py SPATE MODEL [SECONDS]"""
import http.client
import json
import pathlib
import sys
import time

import server_process


def processor_seconds(process):
    return sum(int(task.read_text().split()[0]) for task in pathlib.Path(f"/proc/{process.pid}/task").glob("*/schedstat")) * 1e-9


def idle_print(server, when, seconds):
    time.sleep(2)
    before, began = processor_seconds(server.process), time.monotonic()
    time.sleep(seconds)
    share = (processor_seconds(server.process) - before) / (time.monotonic() - began)
    print(f"{when}: {100 * share:.3f} % of a core over {seconds:g} s")


def main():
    seconds = float(sys.argv[3]) if len(sys.argv) > 3 else 30.0
    with server_process.Spate(sys.argv[1], sys.argv[2]) as server:
        idle_print(server, "started", seconds)
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        connection.request("POST", "/generate", json.dumps({"prompt": "Once", "max_tokens": 8}), {"Content-Type": "application/json"})
        connection.getresponse().read()
        idle_print(server, "after a request, with its connection open", seconds)


if __name__ == "__main__":
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    main()
