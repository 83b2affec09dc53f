"""A soak: clients of all kinds on one real server for SOAK_SECONDS (600), while nothing may go wrong.

First each request is asked alone, of a server of its own that caches no prefixes; from then on its answer must have the same
bytes, whatever runs beside it (docs/scheduling.md, "What does not change"). Twelve clients go through a shuffled deck of
requests, streamed and whole, refusals, aborts, slow readers, scrapes and reloads of the engine. The time is divided into rounds; between two, all
clients rest, and what the server then holds is compared: seats, blocks, descriptors and threads must be back where they were.

Memory is compared twice. In the first half of the rounds the engine is exchanged in each, and again before the server is looked at: what is left of
engines that were closed may not grow by more than GROWTH once a third of these rounds is over. In the second half one engine does it all: what it
gathers may not pass GATHERED for each task that was done once the first of these rounds is over, in which it has used all that it has. At the end the
server must still be healthy and exit with 0.

SPATE_TEST_MODEL names the model; without it, it is the tiny one of the end-to-end tests. SOAK_SEED changes the order.
"""
import collections
import http.client
import json
import os
import pathlib
import random
import re
import socket
import sys
import threading
import time
import traceback

import soak_kinds
from soak_kinds import COMPLETION, GENERATE

import spate_server
from spate_server import JSON, SANITIZED, Engine, Server, post_bytes, receive_all, unchunked, wait_for

SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
SEED = int(os.environ.get("SOAK_SEED", "1"))
MODEL = os.environ.get("SPATE_TEST_MODEL")
CLIENTS = 12
EXCHANGED = max(6, int(SECONDS / 120))  # rounds
LASTING = max(4, int(SECONDS / 120))
ROUNDS = EXCHANGED + LASTING
WARM_ROUNDS = EXCHANGED // 3
GROWTH = (8 if MODEL else 4) << 20  # bytes of its own that a server may gather after that: holes that glibc's heap has when large blocks went
GATHERED, GATHERED_ONCE = 1 << 10, 1 << 20  # bytes of its own that an engine may gather: for each task, and however few those are
PROGRESS_SECONDS = 10
GAUGES = "llm_requests_running", "llm_requests_waiting", "llm_kv_cache_usage_ratio"


class Wrong(Exception):
    pass


def expect(condition, sentence):
    if not condition:
        raise Wrong(sentence)


def short(value):
    text = value if isinstance(value, str) else repr(value)
    return text if len(text) <= 300 else text[:300] + " ..."


def asked(connection, method, path, body=None, headers=None):
    """(response, status, body)"""
    try:
        connection.request(method, path, body, headers or {})
    except (BrokenPipeError, ConnectionResetError):
        pass  # the answer has come before all was sent
    response = connection.getresponse()
    return response, response.status, response.read()


class Model:
    """A model as it is, in place of the tiny engine."""

    def __init__(self, path):
        self.path = pathlib.Path(path)

    def remove(self):
        pass


class Tally:
    """What has happened, by kind."""

    def __init__(self):
        self.lock = threading.Lock()
        self.kinds = collections.defaultdict(lambda: {"right": 0, "wrong": 0, "later": 0, "seconds": []})
        self.sentences = []

    def later(self, kind):
        with self.lock:
            self.kinds[kind]["later"] += 1

    def right(self, kind, seconds):
        with self.lock:
            self.kinds[kind]["right"] += 1
            times = self.kinds[kind]["seconds"]
            times.append(seconds)
            if len(times) > 20000:  # the newer half will do
                del times[:10000]

    def wrong(self, kind, sentence):
        with self.lock:
            self.kinds[kind]["wrong"] += 1
            self.sentences.append(f"{kind}: {sentence}")
        print(f"WRONG {kind}: {sentence}", flush=True)

    def sum(self, what):
        return sum(kind[what] for kind in self.kinds.values())

    def table(self):
        print(f"{'kind':<22}{'right':>9}{'wrong':>7}{'later':>7}{'median ms':>11}{'p99 ms':>9}")
        for name, kind in sorted(self.kinds.items()):
            times = sorted(kind["seconds"]) or [0.0]
            print(f"{name:<22}{kind['right']:>9}{kind['wrong']:>7}{kind['later']:>7}{1e3 * times[len(times) // 2]:>11.1f}"
                  f"{1e3 * times[len(times) * 99 // 100]:>9.1f}")


class Deck:
    """Tasks in an order that is drawn anew each time they are through."""

    def __init__(self, tasks, draw):
        self.tasks, self.draw, self.left, self.rounds = tasks, draw, [], 0
        self.lock = threading.Lock()

    def next(self):
        with self.lock:
            if not self.left:
                self.left = self.draw.sample(self.tasks, len(self.tasks))
                self.rounds += 1
            return self.left.pop()

    def is_through(self, before=0):
        """Have all tasks been met since so many rounds had begun?"""
        return self.rounds > before + 1


class Client:
    """One of those that ask: a connection that is kept, and what it has seen of counters."""

    def __init__(self, soak, seed):
        self.soak, self.server, self.draw = soak, soak.server, random.Random(seed)
        self.connection = self.server.connect()
        self.counters = {}

    def ask(self, kind, method, path, body=None, headers=None):
        """(status, body). Told to come back later, it does."""
        while True:
            response, status, answer = asked(self.connection, method, path, body, headers)
            if status != 429:
                return status, answer
            expect(response.headers["Retry-After"] is not None, "429 without Retry-After")
            self.soak.tally.later(kind)
            time.sleep(0.05 + 0.2 * self.draw.random())

    # ---- kinds of tasks

    def known(self, kind, name, path, fields):
        status, body = self.ask(kind, "POST", path, json.dumps(fields), JSON)
        self.compare(name, path, status, body)

    def queried(self, kind, name, fields):
        status, body = self.ask(kind, "GET", soak_kinds.query_of(fields))
        self.compare(name, GENERATE, status, body)

    def compare(self, name, path, status, body):
        expect(status == 200, f"{name}: status {status}, {short(body)}")
        answer, wanted = soak_kinds.answer_of(path, body), self.soak.answers[name]
        expect(answer == wanted, f"{name}: {short(answer)} where alone it was {short(wanted)}")

    def plain(self, kind, name, method, path, fields):
        status, body = self.ask(kind, method, path, fields and json.dumps(fields), fields and JSON)
        expect((status, body) == self.soak.answers[name], f"{name}: {status} {short(body)}")

    def refused(self, kind, name, method, path, body, headers, wanted):
        status, answer = self.ask(kind, method, path, body, headers)
        expect(status == wanted, f"{short(name)}: status {status} in place of {wanted}, {short(answer)}")
        was = self.soak.answers[name]
        if name == "time over":  # how far it came is not always the same
            answer, was = (re.sub(rb"\d+ tokens were", b"N tokens were", body) for body in (answer, was))
        expect(answer == was, f"{short(name)}: {short(answer)} where it was {short(was)}")

    def refused_head(self, kind, name, head):
        answer = self.server.raw(head)
        body = answer.partition(b"\r\n\r\n")[2]
        expect(body == self.soak.answers["head " + name], f"{name}: {short(answer)}")

    def reads_slowly(self, kind, name, path, fields):
        """Some bytes now and then through a small window: the text is whole all the same."""
        with self.server.socket(receive_bytes=2048) as client:
            client.sendall(post_bytes(fields, path=path))
            pieces = []
            while piece := client.recv(self.draw.choice((16, 200, 1000))):
                pieces.append(piece)
                time.sleep(0.002 * self.draw.random())
        answer = b"".join(pieces)
        if answer.startswith(b"HTTP/1.1 429 "):
            return self.soak.tally.later(kind)
        expect(answer.startswith(b"HTTP/1.1 200 "), f"{name}: {short(answer)}")
        self.compare(name, path, 200, unchunked(answer))

    def leaves(self, kind, path, fields, most):
        """Sends a request and leaves it: before any of the answer, or somewhere in it."""
        with self.server.socket() as client:
            client.sendall(post_bytes(fields, path=path))
            wanted = self.draw.choice((0, self.draw.randrange(1, most)))
            while wanted > 0 and (piece := client.recv(min(wanted, 4096))):
                wanted -= len(piece)
            if self.draw.random() < 0.5:  # half of them with a reset
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")

    def leaves_in_its_request(self, kind):
        """A body that ends where its length says that there is more."""
        whole = post_bytes({"prompt": "word " * 2000, "max_tokens": 4})
        with self.server.socket() as client:
            client.sendall(whole[:self.draw.randrange(1, len(whole) - 1)])

    def reads_nothing(self, kind):
        """Holds an answer that it does not read for a while, then goes."""
        with self.server.socket(receive_bytes=2048) as client:
            client.sendall(post_bytes({"prompt": "Once", "max_tokens": 400, "n": 4, "logprobs": 5, "stream": True, "seed": 1,
                                       "ignore_eos": True}, path=COMPLETION))
            time.sleep(0.1 + 0.3 * self.draw.random())

    def waits_in_its_head(self, kind):
        with self.server.socket() as client:
            client.sendall(b"POST /generate HTTP/1.1\r\nHost: t\r\n")
            expect(receive_all(client).startswith(b"HTTP/1.1 408 "), "half a head is not answered by 408")

    def pipelined(self, kind):
        """Several requests in one piece: answers in their order."""
        one = b"GET /live HTTP/1.1\r\nHost: t\r\n\r\n"
        answer = self.server.raw(one * 5 + one.replace(b"Host", b"Connection: close\r\nHost"))
        expect(answer.count(b"HTTP/1.1 200 OK\r\n") == 6, f"pipelined: {short(answer)}")

    def scrapes(self, kind):
        """Metrics are whole, and no counter goes back, whichever engine serves."""
        status, body = self.ask(kind, "GET", "/metrics")
        expect(status == 200 and body.endswith(b"\n"), f"metrics: status {status}, {short(body[-100:])}")
        counters = {}
        for line in body.decode().splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                counters[name] = float(value)
        for name, value in counters.items():
            if any(part in name for part in ("_total", "_bucket", "_count", "_sum")):
                expect(value >= self.counters.get(name, 0), f"{name} went from {self.counters.get(name)} to {value}")
        self.counters = counters

    def reloads(self, kind):
        """Another engine of the same file takes over, beside all that runs; not while one is to last."""
        if self.soak.lasting:
            return self.soak.tally.later(kind)
        status, body = self.ask(kind, "POST", "/admin/reload", None, {"Authorization": "Bearer soak"})
        if status == 409:  # another client's is under way
            return self.soak.tally.later(kind)
        expect(status == 200, f"reload: {status} {short(body)}")

    def is_healthy(self, kind):
        status, body = self.ask(kind, "GET", "/health")
        expect(status == 200, f"health: {status} {short(body)}")


class Soak:
    def __init__(self):
        self.tally, self.answers = Tally(), {}
        self.quiet = []  # what was held at rest, of engines that were exchanged
        self.lasting, self.lasted = False, []  # of one that lasts: (tasks done by then, its own memory)
        self.go, self.over = threading.Event(), threading.Event()
        self.working, self.changed = 0, threading.Condition()
        limits = ("--max-batch-size", "10", "--max-seq-len", "512") if MODEL else ("--max-batch-size", "8", "--max-seq-len", "1536")
        self.engine = Model(MODEL) if MODEL else Engine(*limits)
        self.options = ["--kv-cache-memory", "12M", *limits] if MODEL else ["--kv-cache-memory", "2M"]  # little: sequences are preempted
        self.requests = soak_kinds.base_requests()

    def serve(self, *more):
        return Server(self.engine, *self.options, *more, backend="cpu")

    # ---- what is right

    def record(self):
        """Asks everything once, one after the other."""
        with self.serve("--no-enable-block-reuse") as server:
            def ask(method, path, body=None, headers=None):
                return asked(server.connect(), method, path, body, headers)[1:]

            def learn(name, path, fields):
                status, body = ask("POST", path, json.dumps(fields), JSON)
                assert status == 200, f"{name}: {status} {body}"
                self.answers[name] = soak_kinds.answer_of(path, body)

            for name, (path, fields) in self.requests.items():
                learn(name, path, fields)
            stopping = soak_kinds.stopping_requests(self.answers["generate"][0][0]["text"])
            self.requests |= stopping
            for name, (path, fields) in stopping.items():
                learn(name, path, fields)
            for name, (method, path, fields) in soak_kinds.plain_requests().items():
                self.answers[name] = ask(method, path, fields and json.dumps(fields), fields and JSON)
                assert self.answers[name][0] == 200, (name, self.answers[name])
            for name, (method, path, body, headers, wanted) in soak_kinds.refused_requests().items():
                status, answer = ask(method, path, body, headers)
                assert status == wanted, f"{name}: {status} in place of {wanted}, {answer}"
                self.answers[name] = answer
            for name, head in soak_kinds.refused_heads().items():
                self.answers["head " + name] = server.raw(head).partition(b"\r\n\r\n")[2]
            server.stop()
            assert server.exit_code() == 0, server.errors()

    # ---- the deck

    def tasks(self):
        """(kind, method of Client, arguments)"""
        for name, (path, fields) in self.requests.items():
            yield name.partition(",")[0] + ", whole", Client.known, (name, path, fields)
            yield name.partition(",")[0] + ", streamed", Client.known, (name, path, soak_kinds.streamed(path, fields))
            yield "slow reader", Client.reads_slowly, (name, path, soak_kinds.streamed(path, fields))
            yield "abort", Client.leaves, (path, soak_kinds.streamed(path, fields), 4000)
            yield "abort", Client.leaves, (path, fields, 200)
        for name in "generate", "generate, seeded", "generate, penalties":
            fields = self.requests[name][1]
            yield "generate by GET", Client.queried, (name, {k: v for k, v in fields.items()})
        for name, (method, path, fields) in soak_kinds.plain_requests().items():
            yield name.partition(" ")[0] if "token" in name else "other routes", Client.plain, (name, method, path, fields)
        for name, row in soak_kinds.refused_requests().items():
            yield "refused", Client.refused, (name, *row)
        for name, head in soak_kinds.refused_heads().items():
            yield "refused head", Client.refused_head, (name, head)
        for _ in range(10):
            yield "abort in the request", Client.leaves_in_its_request, ()
            yield "reads nothing", Client.reads_nothing, ()
            yield "metrics", Client.scrapes, ()
            yield "health", Client.is_healthy, ()
            yield "pipelined", Client.pipelined, ()
        for _ in range(2):
            yield "reload", Client.reloads, ()
        if SECONDS >= 60:  # each takes ten seconds of its client's
            yield "half a head", Client.waits_in_its_head, ()

    # ---- clients

    def client(self, seed):
        client = Client(self, seed)
        while True:
            self.go.wait()
            if self.over.is_set():
                return
            with self.changed:
                if not self.go.is_set():
                    continue
                self.working += 1
            while self.go.is_set():
                self.do(client, *self.deck.next())
            client.connection.close()
            with self.changed:
                self.working -= 1
                self.changed.notify_all()

    def do(self, client, kind, method, arguments):
        start = time.monotonic()
        try:
            method(client, kind, *arguments)
            self.tally.right(kind, time.monotonic() - start)
        except Wrong as wrong:
            self.tally.wrong(kind, str(wrong))
        except (OSError, http.client.HTTPException, AssertionError, ValueError, KeyError, IndexError):
            self.tally.wrong(kind, f"{short(arguments)}\n{traceback.format_exc()}")
            client.connection.close()
            if self.server.process.poll() is not None:
                self.go.clear()  # nobody is there any more

    # ---- what the server holds

    def held(self):
        """(bytes of its own memory, all resident, descriptors, threads)"""
        process = pathlib.Path(f"/proc/{self.server.process.pid}")
        status = (process / "status").read_text()

        def kib(name):
            return int(status.split(name + ":")[1].split()[0]) << 10
        return kib("RssAnon"), kib("VmRSS"), len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

    def rest(self):
        """All clients pause and close what they have open; then nothing of theirs may be left."""
        self.go.clear()
        with self.changed:
            assert self.changed.wait_for(lambda: self.working == 0, timeout=300), "clients do not come to their end: a hang"
        assert self.server.process.poll() is None, self.server.errors()
        wait_for(lambda: all(self.server.metric(name) == 0 for name in GAUGES), "seats and blocks have come back")
        wait_for(lambda: self.held()[2:] == self.at_rest, f"descriptors and threads are {self.at_rest} again, not {self.held()[2:]}")
        accepted = self.server.metric("llm_requests_total")
        ended = sum(self.server.metric(f'llm_requests_finished_total{{reason="{reason}"}}')
                    for reason in ("stop", "length", "cancelled", "failed", "refused"))
        ended += sum(self.server.metric(f'llm_requests_shed_total{{priority="{name}",reason="{reason}"}}')
                     for name in ("high", "normal", "low") for reason in ("place", "timeout"))
        assert accepted == ended, f"{accepted} requests were accepted and {ended} have ended"
        if self.lasting:
            self.idle()
            self.lasted.append((self.tally.sum("right"), self.held()[0]))
        else:
            self.refresh()
            self.quiet.append(self.held())

    def idle(self):
        """What is asked last comes after all that was before it, and so does what is given back then."""
        released = self.server.metric("llm_kv_cache_releases_total")
        self.server.generate(prompt="Once", max_tokens=1)
        wait_for(lambda: self.server.metric("llm_kv_cache_releases_total") > released, "the idle KV cache has been given back")

    def refresh(self):
        """How much of its workspace and KV cache an engine has used since it was opened is chance: what is compared is a server
        whose engine is new, has answered once, and has given its idle cache back."""
        status, _, body = self.server.request("POST", "/admin/reload", None, {"Authorization": "Bearer soak"})
        assert status == 200, body
        wait_for(lambda: self.server.metric("llm_engines_open") == 1, "the engine before is closed")
        self.idle()

    def progress(self, start):
        own, resident, descriptors, threads = self.held()
        print(f"{time.monotonic() - start:7.0f} s  {self.tally.sum('right'):8} right {self.tally.sum('wrong'):3} wrong "
              f"{self.tally.sum('later'):6} told to come back, {own / 2**20:7.1f} MiB own, {resident / 2**20:7.1f} MiB resident, "
              f"{descriptors} descriptors, {threads} threads", flush=True)

    # ---- the run

    def warm_up(self):
        """Starts the thread that tokenizes, and fills the cache: its memory is the server's from the first use on."""
        self.server.request("POST", "/tokenize", '{"prompt": "a"}', JSON)
        for number in range(8):
            self.server.generate(prompt=f"{number} bottles of beer on the wall, " * (40 if MODEL else 30), max_tokens=1)

    def run(self):
        self.record()
        self.server = self.serve("--max-queue", "1" if MODEL else "4", "--log-level", "warning", "--admin-key", "soak", "--idle-release", "0.5",
                                 "--timeout-keep-alive", "600")  # longer than a client may be busy with other connections
        self.deck = Deck(list(self.tasks()), random.Random(SEED))
        print(f"{len(self.deck.tasks)} tasks, {CLIENTS} clients, {ROUNDS} rounds in {SECONDS:g} s on {self.engine.path.name}")
        self.warm_up()
        wait_for(lambda: self.held()[2:] == (time.sleep(0.2), self.held()[2:])[1], "descriptors and threads stay as many")
        self.at_rest = self.held()[2:]
        clients = [threading.Thread(target=self.client, args=(SEED * 1000 + i,), daemon=True) for i in range(CLIENTS)]
        for client in clients:
            client.start()
        self.rounds(time.monotonic())
        self.over.set()
        self.go.set()
        for client in clients:
            client.join()
        self.end()

    def rounds(self, start):
        shown = start
        for number in range(ROUNDS):
            self.lasting = number >= EXCHANGED
            self.go.set()
            end, before = time.monotonic() + SECONDS / ROUNDS, self.deck.rounds if number == EXCHANGED else 0
            meets_all = number + 1 >= WARM_ROUNDS
            while self.go.is_set() and (time.monotonic() < end or (meets_all and not self.deck.is_through(before))):
                time.sleep(0.05)
                if time.monotonic() - shown >= PROGRESS_SECONDS:
                    shown = time.monotonic()
                    self.progress(start)
            self.rest()
        self.progress(start)

    def end(self):
        """What must hold when all is over."""
        status, _, body = self.server.get("/health")
        preempted = self.server.metric("llm_preemptions_total")
        reloads = self.server.metric('llm_engine_orders_total{action="reload",result="done"}')
        self.server.stop()
        code = self.server.exit_code()
        said = self.server.errors()
        self.server.__exit__()
        self.tally.table()
        warm = max(own for own, *_ in self.quiet[:WARM_ROUNDS])
        most = max(own for own, *_ in self.quiet[WARM_ROUNDS:])
        print("own memory at rest, round by round:", *(f"{own / 2**20:.2f}" for own, *_ in self.quiet), "MiB")
        print(f"own memory at rest: at most {warm / 2**20:.2f} MiB in the first {WARM_ROUNDS} of {EXCHANGED} rounds, {most / 2**20:.2f} "
              f"MiB in the others (allowed: {GROWTH >> 20} MiB more)")
        tasks, gathered = (last - first for first, last in zip(self.lasted[0], self.lasted[-1]))
        print("own memory of one engine at rest, round by round:", *(f"{own / 2**20:.2f}" for _, own in self.lasted), "MiB")
        print(f"own memory of one engine at rest: {gathered / 2**20:.2f} MiB more after {tasks} more tasks, {gathered / tasks:.0f} bytes for each "
              f"(allowed: {GATHERED} for each, and {GATHERED_ONCE >> 20} MiB)")
        print(f"descriptors and threads at rest: {self.at_rest[0]} and {self.at_rest[1]} each time; {reloads:.0f} reloads; "
              f"{preempted:.0f} sequences preempted; "
              f"{self.deck.rounds - 1} times through all tasks")
        assert status == 200, body
        assert code == 0, f"exit code {code}: {said}"
        if SANITIZED:
            print("memory is not compared: a sanitizer keeps what was freed")
        else:
            assert most - warm <= GROWTH, "memory grows with engines that are exchanged"
            assert gathered <= GATHERED_ONCE + GATHERED * tasks, "memory grows with what one engine is asked"
        assert not self.tally.sum("wrong"), f"{self.tally.sum('wrong')} wrong"
        ordered = self.tally.kinds["reload"]["right"] - self.tally.kinds["reload"]["later"] + len(self.quiet)
        assert reloads == ordered, f"{reloads:.0f} of {ordered} reloads were done"
        assert preempted > 0 or SECONDS < 60, "nothing was preempted: the cache is too large for this test"


def main():
    if not os.path.exists(spate_server.SPATE):
        print(f"SKIPPED: there is no {spate_server.SPATE}")
        return 77
    soak = Soak()
    try:
        soak.run()
    except AssertionError as failure:
        print(f"FAILED: {failure}")
        return 1
    finally:
        if hasattr(soak, "server"):
            soak.server.__exit__()
        soak.engine.remove()
    print("ok")
    return 0


if __name__ == "__main__":
    sys.exit(main())
