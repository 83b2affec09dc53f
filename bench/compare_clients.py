#!/usr/bin/env python3
"""The same load by `spate bench-serve` and by an outside client (a process with a blocking socket for each connection, which shares no
code with it), in turns, on one server: how far their figures are apart. Both have the same requests, others in each turn, and no prefix is reused. Without MODEL the server is a paced one,
which waits --first milliseconds before an answer and --between ones between tokens, as the prompt decides: the same in each turn.

usage: compare_clients.py SPATE [MODEL] [--client SPATE] [--clients 32] [--rounds 8] [--prompt 64] [--answer 64] [--turns 3]
                          [--threads N] [--first 100,300] [--between 20,60]"""
import argparse
import asyncio
import gc
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


async def paced_answers(reader, writer, first, between):
    writer.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # which asyncio leaves as it is here
    try:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            size = int(head.partition(b"Content-Length: ")[2].split()[0])
            asked = json.loads(await reader.readexactly(size))
            dice, count = random.Random(asked["prompt"]), asked["max_tokens"]
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
            for i in range(1, count + 1):
                await asyncio.sleep(dice.uniform(*(first if i == 1 else between)) / 1000)
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

    def __init__(self, first, between):
        listener = socket.create_server(("127.0.0.1", 0), backlog=1024)
        self.port = listener.getsockname()[1]

        async def serve():
            async with await asyncio.start_server(lambda *ends: paced_answers(*ends, first, between), sock=listener) as server:
                await server.serve_forever()

        self.process = multiprocessing.get_context("fork").Process(target=lambda: asyncio.run(serve()), daemon=True)
        self.process.start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.join()


class Client:
    """What the outside client sees over one connection: it blocks in recv, and the time is taken as soon as that returns, before anything
    is read of what came. The first answer waits for the connection, too."""

    def __init__(self, port, job):
        self.port, self.streams = port, []
        self.requests = []
        for prompt, n in job:
            body = json.dumps({"prompt": prompt, "max_tokens": n, "streaming": True, "temperature": 0, "ignore_eos": True})
            self.requests.append((f"POST /generate HTTP/1.1\r\nHost: outside\r\nContent-Type: application/json\r\n"
                                  f"Content-Length: {len(body)}\r\n\r\n{body}").encode())

    def run(self):
        sent = time.monotonic()
        with socket.create_connection(("127.0.0.1", self.port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            for request in self.requests:
                sent = sent if not self.streams else time.monotonic()
                connection.sendall(request)
                self.streams.append(self.answer(connection, sent))

    def answer(self, connection, sent):
        pieces, tail = [], b""
        while not tail.endswith(b"\r\n0\r\n\r\n"):  # the last chunk
            piece = connection.recv(1 << 16)
            pieces.append((time.monotonic(), piece))
            assert piece, "the connection ended"
            tail = (tail + piece)[-16:]
        return sent, pieces

    def figures(self):
        """Of each answer: when it was sent, when each event came, when it was whole, its tokens."""
        for sent, pieces in self.streams:
            text, events = b"", []
            for came, piece in pieces:
                before, text = text.count(b"\ndata:"), text + piece
                events += [came] * (text.count(b"\ndata:") - before)
            last = text[text.rindex(b"data:") + 5:].partition(b"\n")[0]
            yield sent, events, pieces[-1][0], json.loads(last)["usage"]["completion_tokens"]


def client_process(port, job, barrier, results):
    """In a process of its own: nobody else's answers keep this one waiting."""
    client = Client(port, job)
    gc.disable()
    barrier.wait()
    before = time.process_time()
    client.run()
    spent = time.process_time() - before
    results.put((spent, list(client.figures())))


def spread(name, seconds):
    values = [1000 * value for value in seconds]
    cuts = statistics.quantiles(values, n=1000, method="inclusive")
    return {f"{name} mean": statistics.mean(values)} | {f"{name} {p}": cuts[at - 1] for p, at in QUANTILES.items()}


def outside(port, jobs):
    fork = multiprocessing.get_context("fork")
    barrier, results = fork.Barrier(len(jobs)), fork.Queue()
    processes = [fork.Process(target=client_process, args=(port, job, barrier, results), daemon=True) for job in jobs]
    for process in processes:
        process.start()
    answers, spent = [], 0.0
    for _ in processes:
        seconds, figures = results.get(timeout=900)
        spent += seconds
        answers += figures
    for process in processes:
        process.join()
    span = max(done for _, _, done, _ in answers) - min(sent for sent, *_ in answers)
    tokens = sum(tokens for *_, tokens in answers)
    return {"requests": len(answers), "tokens": tokens, "tokens/s": tokens / span, "the client's share of a core, %": 100 * spent / span} | \
        spread("first token, ms", [events[0] - sent for sent, events, *_ in answers]) | \
        spread("between, ms", [b - a for _, events, *_ in answers for a, b in zip(events, events[1:])]) | \
        spread("whole, ms", [done - sent for sent, _, done, _ in answers])


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
    parser.add_argument("--threads", default=[], type=lambda value: ["--threads", value])
    for name, value in (("first", "100,300"), ("between", "20,60")):
        parser.add_argument(f"--{name}", type=lambda text: tuple(map(float, text.split(","))), default=value)
    o = parser.parse_args()

    def jobs(turn):
        """Answers of half to one and a half times --answer: of one length, those of a closed loop fall into step with one another, in one
        of several ways, and stay so."""
        seeds = iter(range(turn * o.clients * o.rounds, (turn + 1) * o.clients * o.rounds))
        dice = random.Random(turn)
        return [[(random_text(o.prompt, next(seeds)), dice.randint((o.answer + 1) // 2, o.answer * 3 // 2)) for _ in range(o.rounds)]
                for _ in range(o.clients)]

    mine, theirs = [], []
    with Spate(o.spate, o.model, "--no-enable-block-reuse", *o.threads) if o.model else Paced(o.first, o.between) as server:
        outside(server.port, jobs(0))
        for turn in range(o.turns):
            mine.append(ours(o.client or o.spate, server.port, jobs(turn + 1)))
            theirs.append(outside(server.port, jobs(turn + 1)))
    print(f"{o.clients} clients, {o.rounds} answers of some {o.answer} tokens each, {o.turns} turns, medians\n\n"
          "| | bench-serve | outside | apart |\n|---|---|---|---|")
    for name in mine[0]:
        a, b = (statistics.median(turn[name] for turn in turns) for turns in (mine, theirs))
        print(f"| {name} | {a:.2f} | {b:.2f} | {100 * (a / b - 1):+.2f} % |")


if __name__ == "__main__":
    main()
