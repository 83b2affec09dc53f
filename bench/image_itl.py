#!/usr/bin/env python3
"""The time between two tokens of text streams, alone and beside many requests with an image each, by turns.

usage: bench/image_itl.py SPATE MODEL [STREAMS [REQUESTS [SECONDS [ROUNDS [TARGET...]]]]]

STREAMS (4) streams outlast it all. After a while alone REQUESTS (64) requests come at once, each with another picture and 8
tokens of an answer; the gaps of the streams are looked at for SECONDS (20) or until all are answered, then what is left of
them is broken off and the streams are alone again. ROUNDS (3) of it; told is the median of the ratios of the p99 beside images
to the mean of those alone before and after. Once for each TARGET: a multiple of the p99 alone for --target-itl-ms, 0 for none (default
1.3 and 0). Promised: at most 1.5. MODEL: for example a folder of bench/random_vision_pair.py. Needs Pillow."""
import base64
import http.client
import io
import json
import random
import selectors
import socket
import statistics
import sys
import time

from PIL import Image

from server_process import Spate

ANSWER_TOKENS, QUIET_SECONDS = 8, 6


def picture(side=512):
    """Noise under colours, which compresses as a photograph does; no two are alike."""
    small = Image.frombytes("RGB", (32, 32), random.randbytes(32 * 32 * 3)).resize((side, side), Image.BICUBIC)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=85)
    return base64.b64encode(out.getvalue()).decode()


class Client:
    def __init__(self, selector, port, fields):
        body = json.dumps({"streaming": True, "ignore_eos": True, "temperature": 0, **fields})
        self.selector, self.gaps, self.asked, self.last, self.done, self.first = selector, [], time.monotonic(), None, False, None
        self.socket = socket.create_connection(("127.0.0.1", port))
        self.socket.sendall(f"POST /generate HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nConnection: close\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        selector.register(self.socket, selectors.EVENT_READ, self)

    def read(self, now):
        received = self.socket.recv(1 << 16)
        if b"error" in received:
            raise SystemExit(received)
        if not received:
            self.done = True
            return self.close()
        for _ in range(received.count(b"data: ")):
            self.first = self.first or now
            if self.last:
                self.gaps.append((now - self.last, now))
            self.last = now

    def close(self):
        self.selector.unregister(self.socket)
        self.socket.close()


def look(selector, seconds, over=lambda: False):
    until = time.monotonic() + seconds
    while (now := time.monotonic()) < until and not over():
        for key, _ in selector.select(until - now):
            key.data.read(time.monotonic())


def gaps(streams, begin, end):
    found = sorted(1000 * gap for s in streams for gap, when in s.gaps if begin <= when <= end)
    return [found[min(len(found) - 1, int(len(found) * part))] for part in (0.5, 0.99, 1)] if found else [float("nan")] * 3


def phase(selector, streams, seconds, over=lambda: False):
    begin = time.monotonic()
    look(selector, seconds, over)
    return gaps(streams, begin, time.monotonic()), time.monotonic() - begin


def rounds(selector, streams, port, n_request, seconds, n_round):
    ratios, idles = [], []
    alone, _ = phase(selector, streams, QUIET_SECONDS)
    for index in range(n_round):
        pictures = [picture() for _ in range(n_request)]
        look(selector, 0.5)
        images = [Client(selector, port, {"prompt": "<image>What is it?", "image_data": p, "max_tokens": ANSWER_TOKENS})
                  for p in pictures]
        beside, took = phase(selector, streams, seconds, lambda: all(c.done for c in images))
        answered, firsts = sum(c.done for c in images), [c.first - c.asked for c in images if c.first]
        for client in images:
            if not client.done:
                client.close()
        look(selector, 1)
        after, _ = phase(selector, streams, QUIET_SECONDS)
        ratios.append(beside[1] / statistics.mean((alone[1], after[1])))
        idles.append(alone[1])
        print(f"  alone p50 {alone[0]:.1f} p99 {alone[1]:.1f}; beside images p50 {beside[0]:.1f} p99 {beside[1]:.1f} most {beside[2]:.1f}; "
              f"alone p50 {after[0]:.1f} p99 {after[1]:.1f} ms; ratio {ratios[-1]:.2f}; {answered} of {n_request} answered in {took:.1f} s, "
              f"first token p50 {statistics.median(firsts) if firsts else float('nan'):.1f} s", flush=True)
        alone = after
    return ratios, idles


def encoder_runs(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    page = dict(line.rsplit(" ", 1) for line in connection.getresponse().read().decode().splitlines() if line[0] != "#")
    return f"{float(page['llm_image_encoder_seconds_count']):.0f} runs of the encoder in {float(page['llm_image_encoder_seconds_sum']):.1f} s"


def load(spate, model, n_stream, n_request, seconds, n_round, target):
    options = ("--target-itl-ms", f"{target:.3g}") if target else ()
    with Spate(spate, model, "--max-num-tokens", "512", *options) as server, selectors.DefaultSelector() as selector:
        streams = [Client(selector, server.port, {"prompt": f"Story {i}:", "max_tokens": 7000}) for i in range(n_stream)]
        look(selector, 3)
        if n_round == 0:
            return phase(selector, streams, QUIET_SECONDS)[0][1]
        ratios, _ = rounds(selector, streams, server.port, n_request, seconds, n_round)
        print(f"  {encoder_runs(server.port)}")
        print(f"{f'target {target:.3g} ms' if target else 'no target'}: p99 beside images {statistics.median(ratios):.2f} × alone "
              f"({min(ratios):.2f}–{max(ratios):.2f}; at most 1.5)", flush=True)
    return 0


def main():
    spate, model = sys.argv[1:3]
    n_stream, n_request, seconds, n_round = [int(v) for v in sys.argv[3:7]] + [4, 64, 20, 3][len(sys.argv[3:7]):]
    alone = load(spate, model, n_stream, 0, 0, 0, 0)
    for factor in [float(v) for v in sys.argv[7:]] or [1.3, 0]:
        load(spate, model, n_stream, n_request, seconds, n_round, factor * alone)


if __name__ == "__main__":
    main()
