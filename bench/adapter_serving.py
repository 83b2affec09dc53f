#!/usr/bin/env python3
"""Throughput of a server with many adapters against one whose adapters are all on the device: clients that ask, in rounds by
turns, for names by Zipf's law among as many as there are slots, and among all. Adapters of rank 8 for q and v, of random
numbers, are made in FOLDER where they are missing (1,000 of SmolLM2's shape take 0.9 GB).
Needs the package numpy. usage: adapter_serving.py SPATE MODEL FOLDER [--adapters 1000] [--slots 16] [--rounds 5] [serve's options]"""
import argparse
import http.client
import json
import pathlib
import statistics
import threading
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


class Load:
    """Clients that ask one request after the other, until they are told to stop, for adapters by Zipf's law among `n`."""

    def __init__(self, port, clients):
        self.port, self.n, self.stopped, self.error = port, 1, False, None
        self.threads = [threading.Thread(target=self.client, args=(c,)) for c in range(clients)]
        for thread in self.threads:
            thread.start()

    def client(self, number):
        random, connection = numpy.random.default_rng(number), http.client.HTTPConnection("127.0.0.1", self.port, timeout=600)
        while not self.stopped and not self.error:
            weights = 1 / numpy.arange(1, self.n + 1)
            name = random.choice(self.n, p=weights / weights.sum())
            body = {"prompt": text(PROMPT, int(random.integers(1 << 30))), "max_tokens": ANSWER, "ignore_eos": True,
                    "temperature": 0, "stream": False, "lora_request": {"lora_name": f"a{name}"}}
            connection.request("POST", "/generate", json.dumps(body), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            reply = answer.read()
            if answer.status != 200:
                self.error = reply.decode()

    def stop(self):
        self.stopped = True
        for thread in self.threads:
            thread.join()
        if self.error:
            raise SystemExit(self.error)


def counters(port):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("GET", "/metrics")
    lines = [line.rsplit(" ", 1) for line in connection.getresponse().read().decode().splitlines() if line.startswith("llm_")]
    return {name: float(value) for name, value in lines} | {"time": time.monotonic()}


def round_run(load, n, args):
    """Tokens a second, when the requests of the round before are over."""
    load.n = n
    time.sleep(args.settle)
    before = counters(load.port)
    time.sleep(args.seconds)
    after = counters(load.port)
    new = {name: after[name] - before.get(name, 0) for name in after}
    rate, steps = new["llm_generation_tokens_total"] / new["time"], new["llm_steps_total"]
    print(f"{n} adapters: {rate:.0f} tokens/s, {steps / new['time']:.1f} steps/s of {new['llm_generation_tokens_total'] / steps:.1f}"
          f" tokens; {new['llm_lora_loads_total']:.0f} loads, {new['llm_lora_placements_total']:.0f} placements", flush=True)
    return rate


def main():
    parser = argparse.ArgumentParser(usage=__doc__)
    parser.add_argument("spate"), parser.add_argument("model"), parser.add_argument("folder", type=pathlib.Path)
    for name, default in (("adapters", 1000), ("slots", 16), ("rounds", 5), ("clients", 32), ("seconds", 8), ("settle", 3)):
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--shape", default="smollm2-135m")
    args, more = parser.parse_known_args()
    for i in range(args.adapters):
        adapter_make(args.folder / f"a{i}", SHAPES[args.shape], i)
    kinds = (args.slots, args.adapters)
    rates = {n: [] for n in kinds}
    with Spate(args.spate, args.model, "--lora-dir", str(args.folder), "--max-loras", str(args.slots), "--max-batch-size",
               str(args.clients), *more) as server:
        load = Load(server.port, args.clients)
        try:
            for n in kinds * args.rounds:
                rates[n].append(round_run(load, n, args))
        finally:
            load.stop()
    ratios = [many / few for few, many in zip(*rates.values())]
    print(f"median {statistics.median(rates[kinds[1]]):.0f} of {statistics.median(rates[kinds[0]]):.0f} tokens/s; "
          f"of each pair of rounds {', '.join(f'{r:.2f}' for r in ratios)}, median {statistics.median(ratios):.3f} (wanted 0.8)")


if __name__ == "__main__":
    main()
