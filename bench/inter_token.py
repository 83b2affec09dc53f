#!/usr/bin/env python3
"""Time between two tokens of running streams, alone and while a long prompt is computed beside them.

usage: bench/inter_token.py SPATE MODEL [STREAMS [PROMPT_TOKENS]]

Starts `spate serve`, runs STREAMS (16) streams that outlast it all, looks at their gaps for some seconds, then sends one
prompt of about PROMPT_TOKENS (8000) tokens and looks at the gaps until its first token, and then at the streams alone
again. Promised: the p99 beside it is at most twice the p99 alone. The streams' own texts grow all the while, and with
them what their tokens cost: what the prompt does is the ratio to the streams alone afterwards, which are then as long."""
import http.client
import json
import subprocess
import sys
import threading
import time

IDLE_SECONDS = 8


class Stream(threading.Thread):
    """A streaming request; remembers when each event came after which."""

    def __init__(self, port, prompt, max_tokens):
        super().__init__(daemon=True)
        self.port = port
        self.fields = {"prompt": prompt, "max_tokens": max_tokens, "streaming": True, "ignore_eos": True}
        self.gaps = []  # (seconds, when)
        self.first = None
        self.start()

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port)
        connection.request("POST", "/generate", json.dumps(self.fields), {"Content-Type": "application/json"})
        response, last = connection.getresponse(), None
        if response.status != 200:
            raise SystemExit(response.read())
        while line := response.readline():
            now = time.monotonic()
            if line.startswith(b"data:"):
                self.first = self.first or now
                if last:
                    self.gaps.append((now - last, now))
                last = now
        connection.close()


def gaps(streams, begin, end):
    """Milliseconds between neighbouring events of a stream in the time span, sorted."""
    return sorted(1000 * gap for stream in streams for gap, when in stream.gaps if begin <= when <= end)


def report(name, values):
    p50, p99 = (values[min(len(values) - 1, int(len(values) * p))] for p in (0.5, 0.99))
    print(f"{name}: p50 {p50:.1f} ms, p99 {p99:.1f} ms, most {values[-1]:.1f} ms over {len(values)} gaps")
    return p99


def main():
    spate, model = sys.argv[1:3]
    n_stream = int(sys.argv[3]) if len(sys.argv) > 3 else 16
    n_prompt = int(sys.argv[4]) if len(sys.argv) > 4 else 8000
    server = subprocess.Popen([spate, "serve", model, "--port", "0", "--log-level", "error"], stdout=subprocess.PIPE, text=True)
    try:
        port = int(server.stdout.readline().split("http://127.0.0.1:")[1].split()[0])
        streams = [Stream(port, f"Story {i}: once upon a time", 7000) for i in range(n_stream)]
        while any(len(s.gaps) < 3 for s in streams):
            time.sleep(0.05)
        begin = time.monotonic()
        time.sleep(IDLE_SECONDS)
        middle = time.monotonic()
        long = Stream(port, " word" * n_prompt, 4)
        while not long.first:
            time.sleep(0.01)
        time.sleep(IDLE_SECONDS)
        before = report("alone before", gaps(streams, begin, middle))
        beside = report("beside the prompt", gaps(streams, middle, long.first))
        after = report("alone after", gaps(streams, long.first + 1, time.monotonic()))
        print(f"ratio of p99: {beside / after:.2f} to streams as long (at most 2), {beside / before:.2f} to those at the start; "
              f"the prompt took {long.first - middle:.1f} s")
    finally:
        server.kill()


if __name__ == "__main__":
    main()
