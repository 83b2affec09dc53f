"""Walks what can fail: the same command with its first, second, third ... allocation failing, then each file that it opens,
reads, writes or maps, each thread, socket and descriptor, until a call is not reached any more; once with that call alone
failing, and once with it and all after it. Whatever happens, the command ends, by itself: with the right answer, or with a
sentence and a code that is not 0. A server that has begun to serve answers right, or with an error that has a sentence, or by
closing the connection; and the next request, if it still runs, is answered right. SPATE_LONG=1 walks every call, otherwise
about a minute's worth of them. The calls fail in tests/fault/fault.c, which is preloaded; the program knows nothing of it.
"""
import concurrent.futures
import http.client
import json
import os
import pathlib
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import spate_server  # noqa: E402
from spate_server import JSON, SANITIZED, SPATE, Engine  # noqa: E402
from test_images import SeeingEngine, greedy  # noqa: E402
from test_media import Store, certificate  # noqa: E402

LIBRARY = os.environ.get("SPATE_FAULT_LIBRARY", "")
LONG = os.environ.get("SPATE_LONG") == "1"
HANG_SECONDS = 240
RUNS_AT_MOST = 1 << 30 if LONG else 24  # of one kind of call, single or from then on; spread over all calls of it
AT_ONCE = 8  # a run waits more than it computes: for a server that begins or ends, and before it asks again
RUNS_OF_MALLOC = 1 << 30 if LONG else 120
FIRST_ALLOCATIONS = 300  # of a start: what it reads of pictures, and its decoders, are among them
KINDS = "malloc", "open", "read", "write", "mmap", "thread", "socket", "poll", "stat", "rename"
REQUEST = {"prompt": "Once", "max_tokens": 4, "temperature": 0}


def welcome_of(process):
    """The first line of its output; none when it ends first. A start that hangs is one of the things that are looked for."""
    if not select.select([process.stdout], [], [], HANG_SECONDS)[0]:
        raise subprocess.TimeoutExpired(process.args, HANG_SECONDS)
    return process.stdout.readline().decode()


def port_of(welcome):
    return int(welcome.partition("://127.0.0.1:")[2].split()[0])


def ask(port, method="POST", path="/generate", fields=REQUEST, headers=JSON):
    """An answer's status and text or sentence; (None, why) where there was none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=HANG_SECONDS)
    try:
        connection.request(method, path, json.dumps(fields) if method == "POST" else None, headers)
        response = connection.getresponse()
        body = json.loads(response.read())
        return response.status, body.get("text", body.get("error", body.get("status")))
    except TimeoutError:
        return 0, "no answer"
    except (OSError, http.client.HTTPException, ValueError) as lost:
        return None, repr(lost)
    finally:
        connection.close()


def ask_again(port, *arguments):
    """Where no descriptor is left, libuv closes all that wait to be accepted, for as long as more come at once."""
    answer = ask(port, *arguments)
    if answer[0] is None:
        time.sleep(0.2)
        answer = ask(port, *arguments)
    return answer


def wrong_of(answers, right):
    """Why one of these is no answer that a server may give, or None."""
    for status, text in answers:
        if status == 0:
            return "a request hangs"
        if status == 200 and right and text not in right:
            return f"a wrong answer: {text}"
        if status not in (200, None) and not (status >= 400 and len(text) > 8):
            return f"status {status}: {text}"
    return None


class Walk(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not os.path.exists(LIBRARY):
            raise unittest.SkipTest("SKIPPED: SPATE_FAULT_LIBRARY does not name the library that lets calls fail")
        if SANITIZED:
            raise unittest.SkipTest("SKIPPED: a sanitizer has allocations of its own")
        cls.engine = Engine("--max-batch-size", "2", "--max-seq-len", "256", "--max-num-tokens", "32")
        cls.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-fault-"))
        cls.authority = certificate(cls.folder, "authority", "DNS:localhost")[0]
        cls.usual = [cls.engine.path, "--threads", "2", "--kv-cache-memory", "2M", "--cache-dir", cls.folder / "cache"]

    @classmethod
    def tearDownClass(cls):
        cls.engine.remove()
        shutil.rmtree(cls.folder)

    # ---- the way of a walk

    def environment(self, fault, report):
        believed = {"SSL_CERT_FILE": str(self.authority)}  # to read a system's takes OpenSSL 230,000 allocations
        return os.environ | believed | {"LD_PRELOAD": LIBRARY, "SPATE_FAULT": fault, "SPATE_FAULT_REPORT": str(report)}

    def counts(self, run):
        """How often each kind of call is made when nothing fails."""
        report = self.folder / "counts"
        problem = run("", report)
        self.assertIsNone(problem)
        return {line.split()[0]: int(line.split()[1]) for line in report.read_text().splitlines()}

    def walk(self, run, start=None, known=False, each=0):
        """start: a run with whose calls this one begins, which are taken apart from those behind it, or (known) none: another
        test walks them. Its last few may be of its end. each: so many of its first allocations fail one by one, sampled or not."""
        counts = self.counts(run)
        starts = self.counts(start) if start else dict.fromkeys(KINDS, 0)
        faults = [] if LONG else [f"malloc:{i + 1}" for i in range(each)]
        for kind in KINDS:
            most = RUNS_OF_MALLOC if kind == "malloc" else RUNS_AT_MOST
            bound = max(starts[kind] * 9 // 10, starts[kind] - 50)
            for i in self.some(0 if known else bound, 1, most) + self.some(counts[kind] + 1 - bound, 1 + bound, most):
                faults += [f"{kind}:{i}", f"{kind}:{i}+"]
        self.assertGreater(len(faults), 40)
        with concurrent.futures.ThreadPoolExecutor(AT_ONCE) as pool:
            problems = [p for p in pool.map(lambda fault: self.problem(run, fault), faults) if p]
        self.assertFalse(problems, f"{len(problems)} of {len(faults)} runs:\n" + "\n".join(problems))
        print(f"{self._testMethodName}: {len(faults)} runs over {sum(counts[kind] for kind in KINDS)} calls", file=sys.stderr)

    @staticmethod
    def some(n, first, most):
        """Of n numbers, at most so many."""
        return list(range(first, first + n, max(1, -(-n // most))))

    def problem(self, run, fault):
        report = self.folder / f"report-{fault}"
        try:
            what = run(fault, report)
        except subprocess.TimeoutExpired:
            what = "it hangs"
        report.unlink(missing_ok=True)
        return what and f"SPATE_FAULT={fault}: {what}"

    def end_of(self, code, said):
        """Why this is no end that a command may have, or None."""
        lines = [line for line in said.splitlines() if line.strip()]
        if code < 0 or code > 1:
            return f"ends with code {code}: {said[-500:]}"
        if code == 1 and not (lines and len(lines[-1].partition("spate: ")[2]) > 8):
            return f"has no sentence: {said[-500:]!r}"
        return None

    def command(self, *arguments, right):
        def run(fault, report):
            done = subprocess.run([SPATE, *arguments], env=self.environment(fault, report), capture_output=True,
                                  timeout=HANG_SECONDS, stdin=subprocess.DEVNULL)
            wrong = self.end_of(done.returncode, done.stderr.decode(errors="replace"))
            if not wrong and done.returncode == 0 and not right(done.stdout):
                wrong = f"says that all is well and printed {done.stdout[:200]}"
            return wrong
        return run

    # ---- what is walked

    def test_generate(self):
        command = "generate", *self.usual, "--prompt", "Once", "--max-tokens", "4", "--temperature", "0"
        text = subprocess.run([SPATE, *command], check=True, capture_output=True).stdout
        self.walk(self.command(*command, right=lambda printed: printed == text))

    def test_build(self):
        """An engine file is there whole, or not at all."""
        def run(fault, report):
            made = self.folder / f"made-{fault}.spate"
            build = self.command("build", self.engine.folder / "tiny", "-o", made, "--max-seq-len", "256",
                                 right=lambda _: made.read_bytes() == wanted)
            try:
                wrong = build(fault, report)
                left = [path.name for path in self.folder.glob(f"*made-{fault}.spate*") if path != made]
                if not wrong and made.exists() and made.read_bytes() != wanted:
                    wrong = "leaves a file that is no engine"
                return wrong or (f"leaves {left}" if left else None)
            finally:
                made.unlink(missing_ok=True)
        first = self.folder / "first.spate"
        subprocess.run([SPATE, "build", self.engine.folder / "tiny", "-o", first, "--max-seq-len", "256"], check=True,
                       capture_output=True, env=self.environment("", self.folder / "counts"))
        wanted = first.read_bytes()
        self.walk(run)

    def serving(self, *options, usual=None):
        return [SPATE, "serve", *map(str, usual or self.usual), "--port", "0", "--workers", "1", "--shutdown-timeout", "1", *options]

    def served(self, answers, *options, usual=None, told=None):
        """A run of a server, which answers(process, port, once) judges. told: gets what it said before it ended."""
        def run(fault, report):
            process = subprocess.Popen(self.serving(*options, usual=usual), env=self.environment(fault, report), stdout=subprocess.PIPE,
                                       stderr=subprocess.PIPE)
            try:
                welcome = welcome_of(process)
                wrong = None
                if welcome.startswith("Serving "):
                    wrong = answers(process, port_of(welcome), not fault.endswith("+"))
                    process.send_signal(signal.SIGTERM)
                said = process.communicate(timeout=HANG_SECONDS)[1].decode(errors="replace")
                if told is not None:
                    told.append(said)
                return wrong or self.end_of(process.returncode, said)
            finally:
                process.kill()
                process.wait()
                process.stdout.close()
                process.stderr.close()
        return run

    def test_serve(self):
        right = []

        def answers(process, port, once):
            first, second = ask(port), ask_again(port)
            wrong = wrong_of((first, second), right)
            if not right:
                right.append(second[1])
            gone = second[0] == 503  # the engine has stopped, and says so
            if wrong or (once and second[0] != 200 and first[0] == 200):
                return wrong  # the fault may have been in the second one
            return f"after {first}, {second}" if once and second[0] != 200 and not gone and process.poll() is None else None
        self.walk(self.served(answers))

    def test_score(self):
        """That there is no memory for what was sent is no mistake of who sent it."""
        encoder, texts = self.folder / "encoder.spate", {"text_1": "a fox", "text_2": ["hello", "a number"] * 9}
        subprocess.run([SPATE, "build", spate_server.ROOT / "tests/fixtures/encoder/bert", "-o", encoder], check=True, capture_output=True)

        def answers(process, port, once):
            first, second = ask(port, path="/score", fields=texts), ask_again(port, "POST", "/score", texts)
            blamed = [said for status, said in (first, second) if status == 400 and "memory" in said.lower()]
            return f"its client is told {blamed[0]}" if blamed else wrong_of((first, second), None)
        usual = encoder, "--threads", "2"
        self.walk(self.served(answers, usual=usual), self.served(lambda *_: None, usual=usual), known=True)

    def test_fetch(self):
        """An image that is fetched by its address."""
        right, told = [], []
        engine, store = SeeingEngine("llava"), Store()
        request = {"prompt": "see", "image_data": store.url("/ok/colour.png"), **greedy(4)}

        def answers(process, port, once):
            first, second = ask(port, fields=request), ask_again(port, "POST", "/generate", request)
            wrong = wrong_of((first, second), right)
            if not right:
                right.append(second[1])
            gone = second[0] == 503 and "memory" not in second[1]  # of which there is enough again
            if wrong or (once and second[0] != 200 and first[0] == 200):
                return wrong
            return f"after {first}, {second}" if once and second[0] != 200 and not gone and process.poll() is None else None
        options = ("--allow-media-url-prefix", store.url("/ok"), "--allow-media-address", "127.0.0.0/8", "--image-decoders", "1",
                   "--media-timeout", "30")  # which a wake-up that is lost waits for
        usual = [engine.path, *self.usual[1:]]
        try:
            self.walk(self.served(answers, *options, usual=usual, told=told),
                      self.served(lambda *_: None, *options, usual=usual), each=FIRST_ALLOCATIONS)
            for lack in "preprocessor_config.json: There is no memory to read", "There is no memory to start an image decoder":
                self.assertTrue(any(lack in said for said in told), f"no run in which a start says: {lack}")
        finally:
            engine.remove()
            store.shutdown()
            store.server_close()

    def test_reload(self):
        """A reload, a sleep and a wake: whichever fails says so, and what served before goes on, or sleeps."""
        boss = JSON | {"Authorization": "Bearer boss"}
        right = []

        def answers(process, port, once):
            first = ask(port)
            orders = [ask_again(port, "POST", path, {}, boss) for path in ("/admin/reload", "/sleep", "/wake_up")]
            if once and orders[1][0] == 200 and orders[2][0] not in (200, None):
                orders.append(ask_again(port, "POST", "/wake_up", {}, boss))  # what fails once can be asked again
            last = ask_again(port)
            if not right:
                right.append(last[1])
            wrong = wrong_of((first, last), right) or wrong_of(orders, ("serving", "asleep"))
            if wrong or not once or process.poll() is not None or last[0] in (200, 503):
                return wrong
            late = all(status == 200 for status, _ in (first, *orders))  # the fault was in the last one
            return None if late else f"after {first} and {orders}, {last}"
        self.walk(self.served(answers, "--admin-key", "boss"), start=self.served(lambda *_: None), known=True)

    def stalled(self, number, right):
        """What happens when the engine stands still at that write of its step thread for as long as a file is there; None where
        it writes less often. /health tells of it, requests wait meanwhile, and afterwards all is as before."""
        report, stall = self.folder / f"stall-{number}.report", self.folder / f"stall-{number}"
        stall.touch()
        environment = self.environment(f"engine-stall:{number}", report) | {"SPATE_FAULT_STALL": str(stall)}
        with subprocess.Popen(self.serving("--stall-timeout", "0.2"), env=environment, stdout=subprocess.PIPE,
                              stderr=subprocess.DEVNULL) as process, concurrent.futures.ThreadPoolExecutor(2) as pool:
            try:
                port = port_of(welcome_of(process))
                first = pool.submit(ask, port)
                spate_server.wait_for(lambda: report.exists() or first.done(), "the first request is under way")
                if not report.exists():
                    return None
                second = pool.submit(ask, port)
                spate_server.wait_for(lambda: ask(port, "GET", "/health")[0] == 503, "/health tells of the stall")
                self.assertFalse(second.done(), "an answer while the engine stands still")
                stall.unlink()
                self.assertEqual([first.result(), second.result()], [right, right])
                spate_server.wait_for(lambda: ask(port, "GET", "/health")[0] == 200, "/health tells that it is over")
                process.send_signal(signal.SIGTERM)
                return process.wait(timeout=HANG_SECONDS)
            finally:
                stall.unlink(missing_ok=True)
                process.kill()

    def test_engine_stalls(self):
        """At each write of its first request, or at some of them."""
        with subprocess.Popen(self.serving(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as process:
            right = ask(port_of(welcome_of(process)))
            process.terminate()
        self.assertEqual(right[0], 200)
        ends = []
        while not ends or ends[-1] is not None:
            ends.append(self.stalled(len(ends) + 1, right))
        print(f"test_engine_stalls: at each of {len(ends) - 1} writes of the step thread", file=sys.stderr)
        self.assertEqual(ends[:-1], [0] * (len(ends) - 1))
        self.assertGreater(len(ends), 1)


if __name__ == "__main__":
    spate_server.main(__name__)
