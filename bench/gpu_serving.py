#!/usr/bin/env python3
"""Serving on a GPU with random weights: an engine is built from a folder that random_model.py writes, its start is timed,
then requests come through spate.h, and over HTTP from `spate bench-serve`. A table in markdown, beside what vLLM 0.26 reached on an H200 (single runs
of random weights, greedy, its prefix cache off), scaled by this GPU's read rate over that one's where most of the time is
decoding. Needs the package numpy, and 40 GB under FOLDER.
usage: gpu_serving.py FOLDER --spate BINARY --bench-serving BINARY [--model llama-3.1-8b] [--quant-mode FP8 --kv-cache-dtype fp8] [--parts start,http,offline] [--share 1]"""
import argparse
import json
import pathlib
import re
import statistics
import subprocess
import sys
import time
import urllib.request

import first_token
from server_process import Spate
from serving_load import SPATE, random_text, run_load

HERE = pathlib.Path(__file__).parent
PEER_GBS = 4530  # what the peer's H200 was measured to read
OFFLINE = {(128, 128): (2048, 16646), (2048, 128): (512, 2064), (128, 2048): (400, 13754), (2048, 2048): (200, 6299)}
OFFLINE_FP8 = {(128, 128): (2048, 21224), (2048, 128): (512, 3163), (128, 2048): (400, 17505), (2048, 2048): (200, 8326)}  # with fp8 KV
# prompt, answer, clients: rounds; vLLM's tokens a second, p99 of the first token and of the gap between tokens in ms
HTTP = {
    (128, 128, 1): (4, 195, 31, 6.2),
    (128, 128, 32): (4, 4908, 147, 12.6),
    (128, 128, 64): (4, 8310, 255, 27.8),
    (128, 128, 256): (6, 11478, 848, 135),
    (2048, 128, 32): (4, 1677, 1574, 194),
}


def timed(*command):
    begin = time.monotonic()
    done = subprocess.run([str(part) for part in command], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        raise SystemExit(f"{command[0]} failed: {done.stdout[-500:]}")
    return time.monotonic() - begin, done.stdout


def read_scale(options):
    """This GPU's read rate over that of the peer's."""
    done = subprocess.run([options.spate, "bench", "--machine", "--json", "--device", options.target], stdout=subprocess.PIPE, text=True, check=True)
    gbs = json.loads(done.stdout)["machine"]["read"][-1]["gbs"]
    print(f"\nThis GPU reads {gbs:.0f} GB/s, vLLM's {PEER_GBS}: its tokens a second are scaled by {gbs / PEER_GBS:.2f} where answers are as long as prompts.")
    return gbs / PEER_GBS


def peer_rate(options, prompt, answer, rate):
    return rate * options.scale if answer >= prompt else rate


def engine_build(options):
    """Makes what is not there yet."""
    folder, engine = options.folder / options.model, options.folder / f"{options.model}-{options.quant_mode}.spate"
    if not folder.exists():
        print(f"random weights: {timed(sys.executable, HERE / 'random_model.py', folder, options.model)[0]:.0f} s", flush=True)
    if not engine.exists():
        seconds, _ = timed(options.spate, "build", folder, "-o", engine, "--target", options.target, "--quant-mode", options.quant_mode, "--max-batch-size", 1024,
                           "--max-num-tokens", 8192, "--max-seq-len", 4224)
        print(f"built in {seconds:.0f} s: {engine.stat().st_size / 1e9:.1f} GB", flush=True)
    return engine


def start_time(options, engine):
    times = [first_token.once([options.spate, "serve", str(engine), "--port", str(first_token.PORT)]) for _ in range(3)]
    print(f"process start to the first token over HTTP: median {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f})",
          flush=True)


def offline(options, engine):
    print("\n| without HTTP: prompt/answer | requests | tok/s | vLLM | ratio |\n|---|---|---|---|---|")
    for (prompt, answer), (requests, peer) in (OFFLINE_FP8 if options.quant_mode == "FP8" else OFFLINE).items():
        requests = max(1, int(requests * options.share))
        _, text = timed(options.bench_serving, engine, "-k", options.kv_cache_dtype, "-p", prompt, "-a", answer, "-n", requests, "-c", requests)
        rate, peer = float(re.search(r"([0-9.]+) tok/s", text)[1]), peer_rate(options, prompt, answer, peer)
        print(f"| {prompt}/{answer} | {requests} | {rate:.0f} | {peer:.0f} | {rate / peer:.2f} |", flush=True)
        print(text.strip(), file=sys.stderr, flush=True)


def closed_loop(prompt, answer, clients, rounds):
    return [[(0, random_text(prompt, seed), answer) for seed in range(c * rounds, (c + 1) * rounds)] for c in range(clients)]


def steps_seen(port):
    """Steps so far, and the tokens in them."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = [line.split() for line in answer.read().decode().splitlines() if line and line[0] != "#"]
    value = {name: float(number) for name, number in lines if name in ("llm_steps_total", "llm_step_tokens_sum")}
    return value["llm_steps_total"], value["llm_step_tokens_sum"]


def over_http(options, engine):
    print("\n| over HTTP: prompt/answer, clients | tok/s | vLLM | ratio | first token p50, p99, p99 after each client's first ms | vLLM p99 | gap p50, p99 ms | vLLM p99 "
          "| steps, tokens in each |\n|---|---|---|---|---|---|---|---|---|")
    with Spate(options.spate, str(engine), "--no-enable-block-reuse", "--kv-cache-dtype", options.kv_cache_dtype) as server:
        run_load(options.spate, server.port, SPATE, closed_loop(128, 16, 4, 1))
        for (prompt, answer, clients), (rounds, peer, peer_first, peer_gap) in HTTP.items():
            before = steps_seen(server.port)
            r = run_load(options.spate, server.port, SPATE, closed_loop(prompt, answer, clients, rounds))
            peer = peer_rate(options, prompt, answer, peer)
            steps, tokens = (after - at for after, at in zip(steps_seen(server.port), before))
            print(f"| {prompt}/{answer}, {clients} | {r['tok_s']:.0f} | {peer:.0f} | {r['tok_s'] / peer:.2f} | {r['ttft_p50']:.1f}, "
                  f"{r['ttft_p99']:.1f}, {r['later_p99']:.1f} | {peer_first} | {r['gap_p50']:.2f}, {r['gap_p99']:.2f} | {peer_gap} | {steps:.0f}, {tokens / steps:.0f} |", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=pathlib.Path)
    parser.add_argument("--spate", required=True)
    parser.add_argument("--bench-serving", required=True)
    parser.add_argument("--model", default="llama-3.1-8b")
    parser.add_argument("--target", default="cuda")
    parser.add_argument("--quant-mode", default="BF16")
    parser.add_argument("--kv-cache-dtype", default="auto")
    parser.add_argument("--parts", default="start,http,offline")
    parser.add_argument("--share", type=float, default=1, help="of the requests without HTTP")
    options = parser.parse_args()
    engine = engine_build(options)
    options.scale = read_scale(options)
    for part in options.parts.split(","):
        {"start": start_time, "http": over_http, "offline": offline}[part](options, engine)


if __name__ == "__main__":
    main()
