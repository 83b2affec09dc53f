#!/usr/bin/env python3
"""Spate and llama-server under the same load, in turn. Called by serving_vs_llamacpp.sh, which says what it needs."""
import argparse
import statistics

from server_process import LlamaServer, Spate
from serving_load import LLAMA_SERVER, SPATE, run_load, text

CLIENTS, PROMPT, PREFIX, ANSWER = 32, 126, 2000, 128


def closed_loop(rounds):
    """Each client asks again as soon as it has its answer; no two prompts begin alike."""
    return [[(0, f"{seed} {text(PROMPT, seed)}", ANSWER) for seed in range(c * rounds, (c + 1) * rounds)]
            for c in range(CLIENTS)]


def shared_prefix(first_question):
    """All clients at once with one long document and a question of their own."""
    document = text(PREFIX, 7)
    return [[(0, f"{document}. Question {first_question + c}: {text(12, first_question + c)}", ANSWER)] for c in range(CLIENTS)]


def show(name, result):
    print(f"{name:38} {result['tok_s']:7.1f} tok/s  first token p50 {result['ttft_p50']:8.0f} p99 {result['ttft_p99']:8.0f} ms  "
          f"between p50 {result['gap_p50']:6.1f} p99 {result['gap_p99']:6.1f} ms  ({result['prompt_tokens']:.0f} prompt tokens)", flush=True)
    return result


def spate_server(options):
    return Spate(options.spate, f"{options.models}/Q4_1.gguf", "--threads", str(options.threads), "--max-batch-size", "32",
                 "--max-num-tokens", "512")


def closed_on_spate(options, rounds):
    with spate_server(options) as server:
        run_load(options.spate, server.port, SPATE, [[(0, text(8, 1), 8)]])
        return run_load(options.spate, server.port, SPATE, closed_loop(rounds))


def closed_on_peer(options, file, n_parallel, rounds):
    with LlamaServer(options.peer, f"{options.models}/{file}.gguf", options.threads, n_parallel, 512) as server:
        run_load(options.spate, server.port, LLAMA_SERVER, [[(0, text(8, 1), 8)]])
        return run_load(options.spate, server.port, LLAMA_SERVER, closed_loop(rounds))


def compare_closed(options):
    """The peer's best over its files and numbers of slots, each tried once; then the two in turn."""
    tried = {}
    for file in ("Q4_0", "Q4_1"):
        for n_parallel in options.slots:
            tried[file, n_parallel] = show(f"llama-server {file} -np {n_parallel}", closed_on_peer(options, file, n_parallel, 1))
    file, n_parallel = max(tried, key=lambda key: tried[key]["tok_s"])
    ratios = []
    for _ in range(options.rounds):
        ours = show("spate Q4_1", closed_on_spate(options, 3))
        peer = show(f"llama-server {file} -np {n_parallel}", closed_on_peer(options, file, n_parallel, 3))
        ratios.append((ours["tok_s"] / peer["tok_s"], ours["ttft_p99"] / peer["ttft_p99"]))
    print(f"{CLIENTS} clients, prompt 128, answer 128: {statistics.median(r[0] for r in ratios):.2f} × the output (wanted 4), "
          f"{statistics.median(r[1] for r in ratios):.2f} × its p99 of the first token (wanted 0.5)")
    return file


def prefix_run(options, server, dialect, name):
    """Cold, then twice with the document known."""
    cold = show(f"{name}, cold", run_load(options.spate, server.port, dialect, shared_prefix(0)))
    run_load(options.spate, server.port, dialect, shared_prefix(100))
    return cold, show(f"{name}, steady", run_load(options.spate, server.port, dialect, shared_prefix(200)))


def compare_prefix(options, file):
    with spate_server(options) as server:
        ours = prefix_run(options, server, SPATE, "spate Q4_1, one document")
    with LlamaServer(options.peer, f"{options.models}/{file}.gguf", options.threads, CLIENTS, 2560) as server:
        peer = prefix_run(options, server, LLAMA_SERVER, f"llama-server {file}, one document")
    for i, (state, wanted) in enumerate((("all cold together", 10), ("steady", 4))):
        print(f"one document of {PREFIX} tokens, {state}: {ours[i]['tok_s'] / peer[i]['tok_s']:.2f} × the output (wanted {wanted})")


def main():
    parser = argparse.ArgumentParser()
    for name in ("spate", "peer", "models"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--threads", type=int, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slots", type=int, nargs="+", default=[4, 8, 16, 32])
    options = parser.parse_args()
    compare_prefix(options, compare_closed(options))


if __name__ == "__main__":
    main()
