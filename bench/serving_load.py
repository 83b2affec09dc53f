"""Load for the serving benches: requests that are made here, put on a server by `spate bench-serve`, which measures them. The
same client loads every server, so what the client itself costs is the same for all."""
import json
import pathlib
import random
import subprocess
import tempfile

SPATE, LLAMA_SERVER = "generate", "completions"  # the --api of each server


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))] if values else float("nan")


def later_first_tokens(records):
    """Milliseconds to the first token of requests that are not the first of their client: all clients begin at once, which a
    closed loop then never does."""
    seen, later = set(), []
    for record in sorted(records, key=lambda record: record["sent"]):
        if record["client"] in seen:
            later.append(1000 * (record["events"][0] - record["sent"]))
        seen.add(record["client"])
    return later


def run_load(spate, port, api, jobs):
    """jobs: for each client its list of (at, prompt, n_token): each is sent at its time, in seconds after the begin, or when the
    one before has ended. All must end well. Returns rates in tokens a second and times in milliseconds."""
    with tempfile.TemporaryDirectory() as folder:
        trace, record = (pathlib.Path(folder) / name for name in ("trace", "record"))
        with trace.open("w") as file:
            for client, job in enumerate(jobs):
                for at, prompt, n_token in job:
                    print(json.dumps({"client": client, "at": at, "prompt": prompt, "max_tokens": n_token}), file=file)
        done = subprocess.run([spate, "bench-serve", f"http://127.0.0.1:{port}", "--api", api, "--trace", trace, "--record",
                               record, "--timeout", "900", "--json"], capture_output=True, text=True)
        if not done.stdout:
            raise SystemExit(done.stderr)
        [run] = json.loads(done.stdout)["runs"]
        if run["failed"]:
            raise SystemExit(f"{run['failed']} of {run['sent']} requests failed: {run['errors']}")
        later = later_first_tokens(map(json.loads, record.open()))
    return {
        "requests": run["completed"],
        "prompt_tokens": run["prompt_tokens"] / run["completed"],
        "tok_s": run["output_tokens_per_second"],
        "ttft_p50": run["ttft_ms"]["p50"],
        "ttft_p99": run["ttft_ms"]["p99"],
        "later_p99": percentile(later, 0.99),
        "gap_p50": run["itl_ms"]["p50"],
        "gap_p99": run["itl_ms"]["p99"],
        "client_cpu": run["client_cpu_seconds"] / run["seconds"],
    }


WORDS = "the river city old stone market morning letter window garden winter people water light table river train".split()


def text(n_word, seed):
    """English words, about one token each, another order for each seed."""
    state, out = seed * 2654435761 % 2**32 + 1, []
    for _ in range(n_word):
        state = (1103515245 * state + 12345) % 2**31
        out.append(WORDS[(state >> 16) % len(WORDS)])
    return " ".join(out)


SYLLABLES = [c + v for c in "bcdfghjklmnpqrstvwxyz" for v in "aeiou"]


def random_text(n_word, seed):
    """Words of two syllables, a token each to the tokenizer of random_model.py, another order for each seed."""
    draw = random.Random(seed)
    return "".join(f" {draw.choice(SYLLABLES)}{draw.choice(SYLLABLES)}" for _ in range(n_word))
