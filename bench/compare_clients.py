#!/usr/bin/env python3
"""The same load by `spate bench-serve` and by an outside client (asyncio, which shares no code with it), in turns, on one server:
how far their figures are apart. Texts are others in each turn, and no prefix is reused. Without MODEL the server is a paced one,
which waits 100 to 300 ms before an answer and 20 to 60 ms between tokens, as the prompt decides: the same in each turn.

usage: compare_clients.py SPATE [MODEL] [--client SPATE] [--clients 32] [--rounds 8] [--prompt 64] [--answer 64] [--turns 3]"""
import argparse
import asyncio
import json
import multiprocessing
import pathlib
import random
import socket
import statistics
import subprocess
import tempfile
import time

from server_process import Spate
from serving_load import SPATE, random_text

QUANTILES = {"p50": 500, "p90": 900, "p99": 990}


async def paced_answers(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.partition(b"Content-Length: ")[2].split()[0])
            asked = json.loads(await reader.readexactly(size))
            dice, count = random.Random(asked["prompt"]), asked["max_tokens"]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(1, count + 1):
                await asyncio.sleep(dice.uniform(0.1, 0.3) if i == 1 else dice.uniform(0.02, 0.06))
                event = {"text": " the", "finished": i == count, "generated_tokens": i}
                if i == count:
                    event["usage"] = {"prompt_tokens": 1, "completion_tokens": count}
                line = b"data: %s\n\n" % json.dumps(event).encode()
                writer.write(b"%x\r\n%s\r\n" % (len(line), line))
            writer.write(b"0\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        pass
    writer.close()


class Paced:
    """That server, in a process of its own."""

    def __init__(self):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = listener.getsockname()[1]

        async def serve():
            async with await asyncio.start_server(paced_answers, sock=listener) as server:
                await server.serve_forever()

        self.process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(serve()), daemon=True)
        self.process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()


class Stream:
    """What the outside client sees of one answer, over a connection that it keeps; the first one waits for that, too."""

    async def run(self, reader, writer, sent, prompt, max_tokens):
        body = json.dumps({"prompt": prompt, "max_tokens": max_tokens, "streaming": True, "temperature": 0, "ignore_eos": True})
        request = (f"POST /generate HTTP/1.1\r\nHost: outside\r\nContent-Type: application/json\r\n"
                   f"Content-Length: {len(body)}\r\n\r\n{body}").encode()
        self.sent, self.events = sent, []
        writer.write(request)
        while (line := await reader.readline()) != b"0\r\n":  # the last chunk
            if line.startswith(b"data:"):
                self.events.append(time.monotonic())
                last = line
        await reader.readline()
        self.done = time.monotonic()
        self.tokens = json.loads(last[5:])["usage"]["completion_tokens"]


def spread(name, seconds):
    values = [1000 * value for value in seconds]
    cuts = statistics.quantiles(values, n=1000, method="inclusive")
    return {f"{name} mean": statistics.mean(values)} | {f"{name} {p}": cuts[at - 1] for p, at in QUANTILES.items()}


def outside(port, jobs):
    streams = []

    async def client(job):
        sent = time.monotonic()
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
        for prompt, n in job:
            streams.append(Stream())
            await streams[-1].run(reader, writer, sent, prompt, n)
            sent = time.monotonic()
        writer.close()

    async def clients():
        await asyncio.gather(*map(client, jobs))

    before = time.process_time()
    asyncio.run(clients())
    spent = time.process_time() - before
    span = max(s.done for s in streams) - min(s.sent for s in streams)
    tokens = sum(s.tokens for s in streams)
    return {"requests": len(streams), "tokens": tokens, "tokens/s": tokens / span, "the client's share of a core, %": 100 * spent / span} | \
        spread("first token, ms", [s.events[0] - s.sent for s in streams]) | \
        spread("between, ms", [b - a for s in streams for a, b in zip(s.events, s.events[1:])]) | \
        spread("whole, ms", [s.done - s.sent for s in streams])


def ours(client, port, jobs):
    with tempfile.TemporaryDirectory() as folder:
        trace = pathlib.Path(folder) / "trace"
        trace.write_text("".join(json.dumps({"client": c, "prompt": prompt, "max_tokens": n}) + "\n"
                                 for c, job in enumerate(jobs) for prompt, n in job))
        done = subprocess.run([client, "bench-serve", f"http://127.0.0.1:{port}", "--api", SPATE, "--trace", trace, "--json"],
                              check=True, capture_output=True)
    [run] = json.loads(done.stdout)["runs"]
    figures = {"requests": run["completed"], "tokens": run["output_tokens"], "tokens/s": run["output_tokens_per_second"],
               "the client's share of a core, %": 100 * run["client_cpu_seconds"] / run["seconds"]}
    for name, key in (("first token, ms", "ttft_ms"), ("between, ms", "itl_ms"), ("whole, ms", "e2e_ms")):
        figures |= {f"{name} {p}": run[key][p] for p in ("mean", *QUANTILES)}
    return figures


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("spate"), parser.add_argument("model", nargs="?"), parser.add_argument("--client")
    for name, value in (("clients", 32), ("rounds", 8), ("prompt", 64), ("answer", 64), ("turns", 3)):
        parser.add_argument(f"--{name}", type=int, default=value)
    o = parser.parse_args()

    def jobs(turn):
        seeds = iter(range(turn * o.clients * o.rounds, (turn + 1) * o.clients * o.rounds))
        return [[(random_text(o.prompt, next(seeds)), o.answer) for _ in range(o.rounds)] for _ in range(o.clients)]

    mine, theirs = [], []
    with Spate(o.spate, o.model, "--no-enable-block-reuse") if o.model else Paced() as server:
        outside(server.port, jobs(0))
        for turn in range(o.turns):
            mine.append(ours(o.client or o.spate, server.port, jobs(2 * turn + 1 if o.model else 1)))
            theirs.append(outside(server.port, jobs(2 * turn + 2 if o.model else 1)))
    print(f"{o.clients} clients, {o.rounds} answers of {o.answer} tokens each, {o.turns} turns, medians\n\n"
          "| | bench-serve | outside | apart |\n|---|---|---|---|")
    for name in mine[0]:
        a, b = (statistics.median(turn[name] for turn in turns) for turns in (mine, theirs))
        print(f"| {name} | {a:.2f} | {b:.2f} | {100 * (a / b - 1):+.2f} % |")


if __name__ == "__main__":
    main()
