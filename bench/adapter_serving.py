#!/usr/bin/env python3
"""Throughput of a server with many adapters against one whose adapters are all on the device: clients that ask, in rounds by
turns, for names by Zipf's law among as many as there are slots, and among all. Adapters of rank 8 for q and v, of random
numbers, are made in FOLDER where they are missing (1,000 of SmolLM2's shape take 0.9 GB).
Needs the package numpy. usage: adapter_serving.py SPATE MODEL FOLDER [--adapters 1000] [--slots 16] [--rounds 5] [serve's options]"""
import argparse
import concurrent.futures
import http.client
import json
import pathlib
import statistics
import time

import numpy

from random_model import SHAPES, bfloat16
from serving_load import text
from server_process import Spate

RANK, PROMPT, ANSWER = 8, 32, 64


def tensors(shape):
    layers, hidden, _, heads, kv_heads, head, *_ = shape
    for layer in range(layers):
        for name, rows in (("q", heads * head), ("v", kv_heads * head)):
            module = f"base_model.model.model.layers.{layer}.self_attn.{name}_proj"
            yield f"{module}.lora_A.weight", (RANK, hidden)
            yield f"{module}.lora_B.weight", (rows, RANK)


def adapter_make(folder, shape, seed):
    if (folder / "adapter_model.safetensors").exists():
        return
    folder.mkdir(parents=True, exist_ok=True)
    random, header, at, parts = numpy.random.default_rng(seed), {}, 0, []
    for name, sizes in tensors(shape):
        parts.append(bfloat16(random.standard_normal(sizes, numpy.float32) * numpy.float32(0.02)).tobytes())
        header[name] = {"dtype": "BF16", "shape": sizes, "data_offsets": [at, at := at + len(parts[-1])]}
    head = json.dumps(header).encode()
    head += b" " * (-len(head) % 8)
    (folder / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": RANK, "lora_alpha": 2 * RANK}))
    (folder / "adapter_model.safetensors").write_bytes(len(head).to_bytes(8, "little") + head + b"".join(parts))


def zipf(n, count, seed):
    weights = 1 / numpy.arange(1, n + 1)
    return numpy.random.default_rng(seed).choice(n, count, p=weights / weights.sum())


def client(port, jobs):
    connection, tokens = http.client.HTTPConnection("127.0.0.1", port, timeout=600), 0
    for name, seed in jobs:
        body = {"prompt": text(PROMPT, seed), "max_tokens": ANSWER, "ignore_eos": True, "temperature": 0, "stream": False,
                "lora_request": {"lora_name": name}}
        connection.request("POST", "/generate", json.dumps(body), {"Content-Type": "application/json"})
        answer = connection.getresponse()
        reply = answer.read()
        if answer.status != 200:
            raise SystemExit(reply.decode())
        tokens += ANSWER
    return tokens


def round_run(port, args, n, seed):
    names = zipf(n, args.clients * args.requests, seed)
    jobs = [[(f"a{name}", seed * 100000 + i) for i, name in enumerate(names[c :: args.clients])] for c in range(args.clients)]
    begin = time.monotonic()
    with concurrent.futures.ThreadPoolExecutor(args.clients) as pool:
        tokens = sum(pool.map(lambda own: client(port, own), jobs))
    return tokens / (time.monotonic() - begin), len(set(names))


def counters(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    page = connection.getresponse().read().decode()
    lines = [line.rsplit(" ", 1) for line in page.splitlines() if line.startswith("llm_lora_")]
    return {name.split("{")[0]: float(value) for name, value in lines}


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("spate"), parser.add_argument("model"), parser.add_argument("folder", type=pathlib.Path)
    for name, default in (("adapters", 1000), ("slots", 16), ("rounds", 5), ("clients", 32), ("requests", 6)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--shape", default="smollm2-135m")
    args, more = parser.parse_known_args()
    for i in range(args.adapters):
        adapter_make(args.folder / f"a{i}", SHAPES[args.shape], i)
    kinds = (args.slots, args.adapters)
    rates = {n: [] for n in kinds}
    with Spate(args.spate, args.model, "--lora-dir", str(args.folder), "--max-loras", str(args.slots), "--max-batch-size",
               str(args.clients), *more) as server:
        round_run(server.port, args, args.slots, 0)
        for turn in range(args.rounds):
            for n in kinds:
                before = counters(server.port)
                rate, different = round_run(server.port, args, n, 1 + turn)
                after = counters(server.port)
                rates[n].append(rate)
                new = {name: after[name] - before[name] for name in after if name.endswith("_total")}
                print(f"{n} adapters, {different} asked for: {rate:.0f} tokens/s; " + ", ".join(
                    f"{name.removeprefix('llm_lora_').removesuffix('_total')} {value:.0f}" for name, value in new.items()))
    ratios = [many / few for few, many in zip(*rates.values())]
    print(f"median {statistics.median(rates[kinds[1]]):.0f} of {statistics.median(rates[kinds[0]]):.0f} tokens/s; "
          f"of each pair of rounds {', '.join(f'{r:.2f}' for r in ratios)}, median {statistics.median(ratios):.3f} (wanted 0.8)")


if __name__ == "__main__":
    main()
