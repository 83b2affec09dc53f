"""Reloads, sleep and wake: the engine file is exchanged under a server whose streams go on, its memory is given back and
taken again, and what cannot be opened leaves what serves as it is. Answers are those of each file served alone.
"""
import concurrent.futures
import json
import os
import shutil
import signal
import sys
import threading
import unittest
from unittest import mock

import spate_server
from spate_server import JSON, SANITIZED, Engine, Server, wait_for

FAULTS = os.environ.get("SPATE_FAULT_LIBRARY")
NO_FAULTS = "" if FAULTS and not SANITIZED else "SKIPPED: SPATE_FAULT_LIBRARY names no tests/fault/fault.c, or a sanitizer is in its way"
ADMIN = {"Authorization": "Bearer boss"}
GREEDY = {"prompt": "Once upon a time", "max_tokens": 24, "temperature": 0}
LONG = {"prompt": "Once upon a time", "max_tokens": 4000, "temperature": 0, "streaming": True}


def stream_text(body):
    return "".join(one["text"] for one in spate_server.sse_objects(body))


class Reload(spate_server.EngineCase):
    """Two engine files: the tiny model's in floats, and in four bits, which answers otherwise."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.other = Engine("--quant-mode", "INT4_WEIGHT")
        cls.answers = []
        for engine in (cls.engine, cls.other):
            with Server(engine, backend="cpu") as server:
                cls.answers.append(server.generate(**GREEDY)["text"])
        assert cls.answers[0] != cls.answers[1]

    @classmethod
    def tearDownClass(cls):
        cls.other.remove()
        super().tearDownClass()

    def setUp(self):
        self.path = self.engine.folder / "served.spate"
        self.put(self.engine)
        folder = self.engine.folder / "allowed"
        folder.mkdir(exist_ok=True)
        shutil.copy(self.other.path, folder / "other.spate")
        self.options = ("--admin-key", "boss", "--reload-dir", str(folder), "--workers", "2")

    def put(self, engine):
        """As docs/deploy.md says: a new file, renamed over the old one."""
        shutil.copy(engine.path, self.path.with_suffix(".new"))
        os.replace(self.path.with_suffix(".new"), self.path)

    def serve(self, *more):
        server = Server(self, *self.options, *more, backend="cpu")
        self.addCleanup(server.__exit__)
        return server

    def serve_held(self, *more, available=None, stall=True):
        """A server whose first engine stands still from its first token on, until self.stall is unlinked; it sees so much memory."""
        self.stall, memory = self.engine.folder / "stall", self.engine.folder / "meminfo"
        faults = {"LD_PRELOAD": FAULTS, "SPATE_FAULT": "engine-stall:1"}
        if available:
            memory.write_text(f"MemTotal: {available}\nMemAvailable: {available}\n")
            faults["SPATE_FAULT_MEMINFO"] = str(memory)
        if stall:
            self.stall.touch()
            faults["SPATE_FAULT_STALL"] = str(self.stall)
        with mock.patch.dict(os.environ, faults):
            server = self.serve(*more)
        self.addCleanup(self.stall.unlink, missing_ok=True)
        return server

    def order(self, server, path, body=None, headers=ADMIN):
        status, _, answer = server.request("POST", path, body, headers | (JSON if body else {}))
        return status, json.loads(answer)

    def done(self, server, path, body=None):
        status, answer = self.order(server, path, body)
        self.assertEqual(status, 200, answer)
        return answer

    def refused(self, server, path, status, sentence, body=None, headers=ADMIN):
        got, answer = self.order(server, path, body, headers)
        self.assertEqual(got, status, answer)
        self.assertIn(sentence, answer["error"])

    def serves(self, server, which, generation):
        self.assertEqual(server.generate(**GREEDY)["text"], self.answers[which])
        self.assertEqual(json.loads(server.get("/health")[2])["generation"], generation)
        self.assertEqual(server.metric("llm_engine_generation"), generation)

    def counts(self, server, requests, tokens):
        """What all engines have counted is in the page of the one that serves."""
        names = ("llm_requests_total", 'llm_requests_finished_total{reason="length"}', "llm_generation_seconds_count",
                 "llm_time_to_first_token_seconds_count", 'llm_generation_seconds_bucket{le="+Inf"}')
        self.assertEqual([server.metric(name) for name in names], [requests] * len(names))
        self.assertEqual([server.metric(name) for name in ("llm_generation_tokens_total", "llm_request_generation_tokens_sum")], [tokens] * 2)

    # ---- reloads

    def test_takes_the_new_file(self):
        server = self.serve()
        self.serves(server, 0, 1)
        self.put(self.other)
        self.serves(server, 0, 1)
        self.assertEqual(self.done(server, "/admin/reload")["generation"], 2)
        self.serves(server, 1, 2)
        self.put(self.engine)
        self.assertEqual(self.done(server, "/admin/reload", "{}")["status"], "serving")
        self.serves(server, 0, 3)
        self.done(server, "/admin/reload", '{"model": "other.spate"}')
        self.serves(server, 1, 4)
        self.done(server, "/admin/reload")  # what was opened last
        self.serves(server, 1, 5)
        wait_for(lambda: server.metric("llm_engines_open") == 1, "engines that nobody needs are closed")
        self.assertEqual(server.metric('llm_engine_orders_total{action="reload",result="done"}'), 4)

    def test_streams_go_on(self):
        """Where its engine can be held, the streams are under way for certain while another one takes its place."""
        with Server(self.engine, backend="cpu") as plain:
            whole = plain.request("POST", "/generate", json.dumps(LONG), JSON)[2]
        held = not NO_FAULTS
        server = self.serve_held() if held else self.serve()
        self.put(self.other)
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            streams = [pool.submit(server.request, "POST", "/generate", json.dumps(LONG), JSON) for _ in range(4)]
            wait_for(lambda: server.metric("llm_requests_total") == 4, "all streams are accepted")
            self.done(server, "/admin/reload")
            self.serves(server, 1, 2)
            if held:
                self.assertEqual((server.metric("llm_engines_open"), any(stream.done() for stream in streams)), (2, False))
                self.stall.unlink()
            texts = [stream_text(stream.result()[2]) for stream in streams]
        self.assertEqual(texts, [stream_text(whole)] * 4)
        wait_for(lambda: server.metric("llm_engines_open") == 1, "the old engine is closed after its last stream")
        self.counts(server, 5, 4 * LONG["max_tokens"] + GREEDY["max_tokens"])

    def test_what_cannot_be_opened(self):
        server = self.serve()
        good = self.path.read_bytes()
        middle = len(good) // 2
        for name, content, sentence in (
                ("missing", None, "cannot be opened"),
                ("empty", b"", "Engine 1 goes on serving"),
                ("truncated", good[:middle], "Engine 1 goes on serving"),
                ("a damaged head", good[:100] + b"XXXX" + good[104:], "Engine 1 goes on serving"),
                ("a damaged weight", good[:-5000] + bytes([good[-5000] ^ 1]) + good[-4999:], "does not match its checksum")):
            with self.subTest(name):
                self.path.unlink(missing_ok=True)
                if content is not None:
                    self.path.write_bytes(content)
                status, answer = self.order(server, "/admin/reload")
                self.assertGreaterEqual(status, 400)
                self.assertIn(sentence, answer["error"])
                self.assertTrue(answer["error"].startswith("Engine 1 goes on serving. "), answer)
                self.serves(server, 0, 1)
        self.assertEqual(server.metric('llm_engine_orders_total{action="reload",result="failed"}'), 5)
        self.put(self.engine)
        self.done(server, "/admin/reload")
        self.serves(server, 0, 2)

    @unittest.skipIf(NO_FAULTS, NO_FAULTS)
    def test_memory(self):
        """Two caches that do not fit side by side, though neither has been written to: the new one is not opened."""
        server = self.serve_held("--kv-cache-memory", "600M", available="1048576 kB", stall=False)
        self.refused(server, "/admin/reload", 503, "POST /sleep, then POST /wake_up")
        self.serves(server, 0, 1)
        self.done(server, "/sleep")
        self.done(server, "/wake_up")
        self.serves(server, 0, 2)

    @unittest.skipIf(NO_FAULTS, NO_FAULTS)
    def test_memory_of_three(self):
        """While an engine that was replaced ends its answers, its cache counts as that of the one that serves does."""
        server = self.serve_held("--kv-cache-memory", "400M", available="1048576 kB")
        with concurrent.futures.ThreadPoolExecutor(1) as pool:
            stream = pool.submit(server.request, "POST", "/generate", json.dumps(LONG), JSON)
            wait_for(lambda: server.metric("llm_requests_total") == 1, "the stream is accepted")
            self.done(server, "/admin/reload")
            self.refused(server, "/admin/reload", 503, "POST /sleep, then POST /wake_up")
            self.assertFalse(stream.done())
            self.stall.unlink()
            self.done(server, "/sleep?mode=abort")
        self.done(server, "/wake_up")
        self.done(server, "/admin/reload")
        self.serves(server, 0, 4)

    def test_names(self):
        server = self.serve()
        for body in ('{"model": "../served.spate"}', '{"model": "/etc/passwd"}', '{"model": ".."}', '{"model": ".hidden"}',
                     '{"model": "a\\nb"}'):
            self.refused(server, "/admin/reload", 400, "expected the name of a file in the folder", body)
        for body in ('{"model": ""}', '{"model": 3}', '{"model": "a\\u0000b"}', json.dumps({"model": "x" * 256})):
            self.refused(server, "/admin/reload", 400, "model must be a file's name", body)
        for body in ("[]", '{"path": "/etc/passwd"}', '{"model": "other.spate", "path": "x"}'):
            self.refused(server, "/admin/reload", 400, "nothing but model in it", body)
        self.refused(server, "/admin/reload", 400, "JSON", "{")
        self.refused(server, "/admin/reload", 404, "cannot be opened", '{"model": "nothing.spate"}')
        self.serves(server, 0, 1)
        self.options = self.options[:2]
        self.refused(self.serve(), "/admin/reload", 400, "--reload-dir", '{"model": "other.spate"}')

    def test_keys(self):
        server = self.serve("--api-key", "user")
        for path in ("/admin/reload", "/sleep", "/wake_up"):
            for headers in ({}, {"Authorization": "Bearer user"}):
                self.refused(server, path, 401, "--admin-key", headers=headers)
        self.assertEqual(server.get("/is_sleeping")[0], 401)
        self.assertEqual(server.get("/version", ADMIN)[0], 401)
        self.done(server, "/admin/reload")
        self.options = ()
        self.refused(self.serve(), "/admin/reload", 403, "--admin-key")

    def test_one_at_a_time(self):
        """While one is under way others are refused, and it is not."""
        server = self.serve()
        statuses, lock = [], threading.Lock()

        def reload(_):
            status = self.order(server, "/admin/reload")[0]
            with lock:
                statuses.append(status)

        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            list(pool.map(reload, range(40)))
        self.assertEqual(set(statuses) | {409}, {200, 409})
        self.assertEqual(server.metric("llm_engine_generation"), 1 + statuses.count(200))

    def test_asked_while_it_falls_asleep(self):
        """What is asked just when the last answer ends takes nothing from the loop: orders end, and others are taken."""
        server = Server(self, "--admin-key", "boss", "--workers", "1", backend="cpu")
        self.addCleanup(server.__exit__)
        for _ in range(3):
            client = server.socket()
            asked = spate_server.post_bytes(GREEDY | {"max_tokens": 400}).replace(b"Connection: close\r\n", b"")
            before = server.metric("llm_requests_total")
            client.sendall(asked + b"GET /ready HTTP/1.1\r\nHost: here\r\n\r\n" * 3)
            wait_for(lambda: server.metric("llm_requests_total") != before, "it is asked")
            self.assertEqual(self.done(server, "/sleep")["status"], "asleep")
            self.assertEqual(self.done(server, "/wake_up")["status"], "serving")
            client.close()
        self.assertEqual(server.generate(**GREEDY)["text"], self.answers[0])

    def test_hangup(self):
        server = Server(self, *self.options, backend="cpu", new_session=True)
        self.addCleanup(server.__exit__)
        self.put(self.other)
        server.stop(signal.SIGHUP)
        wait_for(lambda: server.metric("llm_engine_generation") == 2, "SIGHUP reloads")
        self.serves(server, 1, 2)
        self.path.unlink()
        server.stop(signal.SIGHUP)
        wait_for(lambda: "Engine 2 goes on serving." in server.errors(), "the log says what is wrong")
        self.serves(server, 1, 2)
        server.stop()
        self.assertEqual(server.exit_code(), 0)

    # ---- sleep

    def test_sleeps_and_wakes(self):
        server = self.serve()
        self.serves(server, 0, 1)
        awake = server.resident_bytes()
        self.assertEqual(self.done(server, "/sleep?level=1")["status"], "asleep")
        self.assertEqual(json.loads(server.get("/is_sleeping")[2]), {"is_sleeping": True})
        self.assertLess(server.resident_bytes(), awake)
        self.assertEqual(json.loads(server.get("/health")[2])["status"], "asleep")
        for method, path, body in (("POST", "/generate", json.dumps(GREEDY)), ("GET", "/v1/models", None),
                                   ("POST", "/tokenize", '{"prompt": "a"}'), ("GET", "/ready", None)):
            status, headers, answer = server.request(method, path, body, JSON if body else {})
            self.assertEqual((status, "sleeps" in answer.decode()), (503, True), path)
            self.assertIsNotNone(headers["Retry-After"], path)
        self.assertEqual(server.metric("llm_engine_asleep"), 1)
        self.assertEqual(server.get("/live")[0], 200)
        self.done(server, "/sleep?level=2&mode=wait")  # it sleeps already
        self.assertEqual(self.done(server, "/wake_up")["status"], "serving")
        self.serves(server, 0, 2)
        self.done(server, "/wake_up")
        self.serves(server, 0, 2)
        self.counts(server, 3, 3 * GREEDY["max_tokens"])
        self.assertEqual(json.loads(server.get("/is_sleeping")[2]), {"is_sleeping": False})
        self.refused(server, "/sleep?level=3", 400, "level=1")
        self.refused(server, "/sleep?mode=now", 400, "mode=wait")

    def test_streams_end_first(self):
        server = self.serve()
        whole = server.request("POST", "/generate", json.dumps(LONG), JSON)[2]
        with concurrent.futures.ThreadPoolExecutor(4) as pool:
            streams = [pool.submit(server.request, "POST", "/generate", json.dumps(LONG), JSON) for _ in range(2)]
            wait_for(lambda: server.metric("llm_requests_running") == 2, "both streams run")
            self.done(server, "/sleep")
            self.assertEqual([stream_text(s.result(timeout=spate_server.WAIT_SECONDS)[2]) for s in streams], [stream_text(whole)] * 2)
            self.done(server, "/wake_up")
            streams = []
            for _ in range(2):  # one on the engine that serves, one on that before
                streams.append(pool.submit(server.request, "POST", "/generate", json.dumps(LONG | {"max_tokens": 60000}), JSON))
                wait_for(lambda: server.metric("llm_requests_running") == 1, "the stream runs")
                if len(streams) == 1:
                    self.done(server, "/admin/reload")
            self.done(server, "/sleep?mode=abort")
            for stream in streams:
                self.assertIn('"finish_reason":"cancelled"', stream.result()[2].decode().replace(" ", ""))
        self.done(server, "/wake_up")
        self.serves(server, 0, 4)

    def test_wait_ends(self):
        """A sleep that waits is ended by an abort, to which all that wait for it are answered, or by its time; others are refused
        meanwhile."""
        endless = json.dumps(LONG | {"max_tokens": 60000})
        server = self.serve()
        with concurrent.futures.ThreadPoolExecutor(8) as pool:
            for generation, paths in enumerate((("/sleep", *["/sleep?mode=abort"] * 6), ("/sleep?timeout_s=1",),
                                                ("/sleep?timeout_s=0",)), 1):
                stream = pool.submit(server.request, "POST", "/generate", endless, JSON)
                wait_for(lambda: server.metric("llm_requests_running") == 1, "the stream runs")
                sleeps = [pool.submit(self.order, server, paths[0])]
                if len(paths) > 1:
                    wait_for(lambda: server.metric("llm_engine_asleep") == 1, "it waits for the stream")
                    for path in ("/sleep", "/wake_up", "/admin/reload"):
                        self.refused(server, path, 409, "already")
                    self.assertFalse(sleeps[0].done() or stream.done())
                sleeps += [pool.submit(self.order, server, path) for path in paths[1:]]
                for status, answer in (sleep.result() for sleep in sleeps):  # an abort that comes late finds it asleep
                    self.assertEqual((status, answer.get("status"), answer.get("generation")), (200, "asleep", generation))
                self.assertIn('"finish_reason":"cancelled"', stream.result()[2].decode().replace(" ", ""))
                self.done(server, "/wake_up")
        for text in ("", "-1", "1.5", "86401", "9999999999999999999999", "x"):
            self.refused(server, f"/sleep?timeout_s={text}", 400, "timeout_s=0 to 86400")
        self.serves(server, 0, 4)

    # ---- an idle cache

    def test_idle_release(self):
        """The cache's pages go back after a time without requests; what it is asked then has the same answer."""
        server = self.serve("--idle-release", "2")
        fields = {"prompt": "word " * 3000, "max_tokens": 8, "temperature": 0}
        released = lambda: server.metric("llm_kv_cache_releases_total")

        def use():
            """What it holds before the cache is given back, if it is not by then."""
            before = released()
            first, used = server.generate(**fields), server.resident_bytes()
            return (first, used, before) if released() == before else None
        first, used, before = wait_for(use, "its bytes are looked at in time")
        wait_for(lambda: released() > before, "the cache is given back")
        idle = server.resident_bytes()
        if not spate_server.SANITIZED:  # which keeps what was freed
            self.assertLess(idle, used - first["usage"]["prompt_tokens"] * 256)  # less than half of what tokens take
        print(f"test_idle_release: {used >> 20} MiB resident, {idle >> 20} when idle", file=sys.stderr)
        again = server.generate(**fields)
        self.assertEqual(again, first)
        self.assertEqual(again["usage"]["prompt_tokens_details"]["cached_tokens"], 0)
        wait_for(lambda: server.metric("llm_kv_cache_releases_total") == 2, "and once more")
        self.serves(server, 0, 1)

    def test_wakes_with_another_file(self):
        server = self.serve()
        self.done(server, "/sleep")
        self.path.unlink()
        self.refused(server, "/wake_up", 404, "The server goes on sleeping.")
        self.put(self.other)
        self.done(server, "/wake_up")
        self.serves(server, 1, 2)

    def test_stops_asleep(self):
        server = self.serve()
        self.done(server, "/sleep")
        server.stop()
        self.assertEqual(server.exit_code(), 0)


if __name__ == "__main__":
    spate_server.main(__name__)
