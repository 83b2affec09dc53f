"""Load for the serving benches: clients that stream answers, and what they saw. The same code loads every server, so
what the client itself costs is the same for all; it looks at the text of an event only where a request ends."""
import http.client
import json
import multiprocessing
import random
import threading
import time

# What differs between servers: the path, the request's fields, and where the last event says how many tokens came.
SPATE = {
    "path": "/generate",
    "fields": lambda prompt, n: {"prompt": prompt, "max_tokens": n, "streaming": True, "temperature": 0, "ignore_eos": True},
    "prompt_tokens": lambda last: last["usage"]["prompt_tokens"],
    "tokens": lambda last: last["usage"]["completion_tokens"],
}
LLAMA_SERVER = {
    "path": "/completion",
    "fields": lambda prompt, n: {"prompt": prompt, "n_predict": n, "stream": True, "temperature": 0, "ignore_eos": True},
    "prompt_tokens": lambda last: last["tokens_evaluated"],
    "tokens": lambda last: last["tokens_predicted"],
}


class Seen:
    """What one request saw, in seconds."""

    def __init__(self, asked):
        self.asked, self.first, self.ended = asked, None, None
        self.gaps, self.tokens, self.prompt_tokens = [], 0, 0
        self.later = False  # not the first of its client: all clients begin at once, which a closed loop then never does


def ask(connection, dialect, prompt, n_token):
    """Streams one answer. Raises when it is refused or cut off."""
    seen, last_at, last_line = Seen(time.monotonic()), None, b""
    body = json.dumps(dialect["fields"](prompt, n_token))
    connection.request("POST", dialect["path"], body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    if response.status != 200:
        raise RuntimeError(f"{response.status}: {response.read()[:300]}")
    while line := response.readline():
        if not line.startswith(b"data:") or b"[DONE]" in line:
            continue
        now = time.monotonic()
        if last_at is None:
            seen.first = now
        else:
            seen.gaps.append(now - last_at)
        last_at, last_line = now, line
    last = json.loads(last_line[5:])
    seen.tokens, seen.prompt_tokens = dialect["tokens"](last), dialect["prompt_tokens"](last)
    seen.ended = time.monotonic()
    return seen


class Client(threading.Thread):
    """Asks one thing after another, each at its time (seconds after `begin`; 0: when the one before has ended)."""

    def __init__(self, port, dialect, begin, jobs):
        super().__init__(daemon=True)
        self.port, self.dialect, self.begin, self.jobs = port, dialect, begin, jobs
        self.seen, self.failure = [], None

    def run(self):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=900)
        try:
            for at, prompt, n_token in self.jobs:
                time.sleep(max(0, self.begin + at - time.monotonic()))
                seen = ask(connection, self.dialect, prompt, n_token)
                seen.later = bool(self.seen)
                self.seen.append(seen)
        except Exception as failure:  # told by run_load, in the caller's thread
            self.failure = failure
        connection.close()


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p))] if values else float("nan")


def clients_run(port, dialect, begin, jobs):
    """What the clients' requests saw; every one must have ended well."""
    clients = [Client(port, dialect, begin, job) for job in jobs]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    for client in clients:
        if client.failure:
            raise SystemExit(f"A client failed: {client.failure}")
    return [s for client in clients for s in client.seen]


def processes_run(port, dialect, begin, jobs, processes):
    """The same, with the clients dealt out among processes: for loads that are too much for one."""
    fork, shares, seen = multiprocessing.get_context("fork"), [], []
    for i in range(processes):
        ours, theirs = fork.Pipe(duplex=False)
        share = fork.Process(target=lambda: theirs.send(clients_run(port, dialect, begin, jobs[i::processes])))
        share.start()
        theirs.close()
        shares.append((share, ours))
    for share, ours in shares:
        try:
            seen += ours.recv()
        except EOFError:
            raise SystemExit("A process of clients failed.") from None
        share.join()
    return seen


def run_load(port, dialect, jobs, processes=1):
    """jobs: for each client its list of (at, prompt, n_token). Returns rates in tokens a second and times in
    milliseconds."""
    begin = time.monotonic() + 0.05 * processes
    if processes == 1:
        seen = clients_run(port, dialect, begin, jobs)
    else:
        seen = processes_run(port, dialect, begin, jobs, processes)
    span = max(s.ended for s in seen) - min(s.asked for s in seen)
    first = [1000 * (s.first - s.asked) for s in seen]
    later = [1000 * (s.first - s.asked) for s in seen if s.later]
    gaps = [1000 * gap for s in seen for gap in s.gaps]
    return {
        "requests": len(seen),
        "prompt_tokens": sum(s.prompt_tokens for s in seen) / len(seen),
        "tok_s": sum(s.tokens for s in seen) / span,
        "ttft_p50": percentile(first, 0.5),
        "ttft_p99": percentile(first, 0.99),
        "later_p99": percentile(later, 0.99),
        "gap_p50": percentile(gaps, 0.5),
        "gap_p99": percentile(gaps, 0.99),
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
