#!/usr/bin/env python3
"""Process start to the first streamed token over HTTP, with the engine built and in the page cache.
usage: first_token.py SPATE MODEL [RUNS]"""
import json
import socket
import statistics
import subprocess
import sys
import time

PORT = 8937
REQUEST = json.dumps({"prompt": "The capital of France is", "max_tokens": 4, "temperature": 0, "streaming": True}).encode()
HEAD = (f"POST /generate HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        f"Content-Length: {len(REQUEST)}\r\n\r\n").encode()


def connect(deadline):
    while time.monotonic() < deadline:
        try:
            return socket.create_connection(("127.0.0.1", PORT), timeout=10)
        except OSError:
            time.sleep(0.001)
    raise SystemExit("the server did not start")


def once(command):
    start = time.monotonic()
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        with connect(start + 60) as client:
            client.sendall(HEAD + REQUEST)
            received = b""
            while b"data:" not in received:
                received += client.recv(4096)
        return time.monotonic() - start
    finally:
        server.terminate()
        server.wait()


def main():
    command = [sys.argv[1], "serve", sys.argv[2], "--port", str(PORT)]
    once(command)  # builds the engine if need be, warms the page cache
    times = [1000 * once(command) for _ in range(int(sys.argv[3]) if len(sys.argv) > 3 else 9)]
    print(f"first token over HTTP after process start: median {statistics.median(times):.0f} ms "
          f"({min(times):.0f} to {max(times):.0f}, {len(times)} runs)")


if __name__ == "__main__":
    main()
