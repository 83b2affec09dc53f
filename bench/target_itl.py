#!/usr/bin/env python3
"""The time between two tokens of streams beside prompts that never end, with targets for it and without.

usage: bench/target_itl.py SPATE MODEL [STREAMS [PROMPT_TOKENS [SECONDS [TARGET_MS...]]]]

STREAMS (16) clients read stories of 256 tokens, one after another; 4 more send prompts of about PROMPT_TOKENS (2000) tokens
and take 16 tokens of an answer, one after another. The first third of SECONDS (45) warms up; of the rest the gaps between the
tokens of the stories, the time to the first token of the long prompts and the tokens a second are told: without a target, with each
TARGET_MS (none: 1.5, 2.5 and 5 times the median gap of stories that run alone), and without a target once more, as the machine may have
changed meanwhile. `spate:` is what /metrics says at the end of each. Leave this program a processor of its own (SPATE_THREADS)."""
import http.client
import itertools
import json
import selectors
import socket
import sys
import time

from server_process import Spate

STORY_TOKENS, ANSWER_TOKENS, LONG_CLIENTS = 256, 16, 4
SHOWN = ("llm_itl_current_seconds", "llm_itl_prompt_token_limit", "llm_itl_sequence_limit", "llm_itl_missed_steps_total",
         "llm_steps_total")


class Client:
    """Asks again as soon as it has its answer. One thread serves them all, so that none waits for another."""

    def __init__(self, selector, port, name, n_prompt, n_answer):
        self.selector, self.port, self.name, self.n_prompt, self.n_answer = selector, port, name, n_prompt, n_answer
        self.gaps, self.firsts, self.tokens = [], [], []  # (seconds, when), (seconds, when), when
        self.turns = itertools.count()
        self.ask()

    def ask(self):
        body = json.dumps({"prompt": f"Tale {next(self.turns)} of {self.name}:" + " ba" * self.n_prompt, "max_tokens": self.n_answer,
                           "streaming": True, "ignore_eos": True})
        self.asked, self.last = time.monotonic(), None
        self.socket = socket.create_connection(("127.0.0.1", self.port))
        self.socket.sendall(f"POST /generate HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nConnection: close\r\n"
                            f"Content-Length: {len(body)}\r\n\r\n{body}".encode())
        self.selector.register(self.socket, selectors.EVENT_READ, self)

    def read(self, now):
        received = self.socket.recv(1 << 16)
        if not received:
            self.selector.unregister(self.socket)
            self.socket.close()
            if self.last is None:
                raise SystemExit("A request was refused.")
            return self.ask()
        for _ in range(received.count(b"data: ")):
            if self.last is None:
                self.firsts.append((now - self.asked, now))
            else:
                self.gaps.append((now - self.last, now))
            self.tokens.append(now)
            self.last = now


def at(values, part):
    return values[min(len(values) - 1, int(len(values) * part))] if values else float("nan")


def milliseconds(clients, field, begin):
    return sorted(1000 * value for client in clients for value, when in getattr(client, field) if when >= begin)


def metrics(port):
    connection = http.client.HTTPConnection("127.0.0.1", port)
    connection.request("GET", "/metrics")
    page = dict(line.rsplit(" ", 1) for line in connection.getresponse().read().decode().splitlines() if line[0] != "#")
    return ", ".join(f"{name} {float(page[name]):.4g}" for name in SHOWN)


def load(spate, model, n_stream, n_long, n_prompt, seconds, target):
    """Median gap; says all of it."""
    with Spate(spate, model, *(("--target-itl-ms", str(target)) if target else ())) as server, selectors.DefaultSelector() as selector:
        begin = time.monotonic() + seconds / 3
        until = begin + 2 * seconds / 3
        stories = [Client(selector, server.port, f"a {i}", 4, STORY_TOKENS) for i in range(n_stream)]
        long = [Client(selector, server.port, f"b {i}", n_prompt, ANSWER_TOKENS) for i in range(n_long)]
        while (now := time.monotonic()) < until:
            for key, _ in selector.select(until - now):
                key.data.read(time.monotonic())
        gaps, firsts = milliseconds(stories, "gaps", begin), milliseconds(long, "firsts", begin)
        tokens = sum(when >= begin for client in stories + long for when in client.tokens) / (until - begin)
        prompts = len(firsts) * n_prompt / (until - begin)
        over = sum(gap > target for gap in gaps) / max(1, len(gaps)) if target else 0
        print(f"{f'target {target:.4g} ms' if target else 'no target':15}: gaps p50 {at(gaps, .5):.1f} p99 {at(gaps, .99):.1f} most "
              f"{at(gaps, 1):.1f} ms ({len(gaps)}, {over:.2%} over); long prompts' first token p50 {at(firsts, .5):.0f} ms "
              f"({len(firsts)}); {tokens:.0f} tokens/s, {prompts:.0f} prompt tokens/s\n{'':15}  spate: {metrics(server.port)}",
              flush=True)
        return at(gaps, 0.5)


def main():
    spate, model = sys.argv[1:3]
    n_stream, n_prompt, seconds = [int(value) for value in sys.argv[3:6]] + [16, 2000, 45][len(sys.argv[3:6]):]
    print("stories alone, ", end="")
    alone = load(spate, model, n_stream, 0, n_prompt, seconds / 3, 0)
    targets = [float(value) for value in sys.argv[6:]] or [alone * factor for factor in (1.5, 2.5, 5)]
    for target in (0, *targets, 0):
        load(spate, model, n_stream, LONG_CLIENTS, n_prompt, seconds, target)


if __name__ == "__main__":
    main()
