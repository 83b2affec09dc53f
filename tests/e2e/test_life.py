"""Clients that leave, lag or crowd; a server that drains, is killed, or loses its engine file."""
import concurrent.futures
import json
import os
import pathlib
import select
import shutil
import signal
import socket
import tempfile
import types

import spate_server
from spate_server import Engine, Server, post_bytes, receive_all, sse_objects, unchunked, wait_for

FOR_EVER = {"prompt": "Once", "max_tokens": Engine.MAX_SEQ_LEN - 64}
CANCELLED = 'llm_requests_finished_total{reason="cancelled"}'


class Life(spate_server.EngineCase):
    def serve(self, *options, backend="null", engine=None, **more):
        server = Server(engine or self.engine, *options, backend=backend, **more)
        self.addCleanup(server.__exit__)
        return server

    def start_stream(self, server, **fields):
        """A socket on which the first text of an endless stream has come."""
        client = server.socket()
        self.addCleanup(client.close)
        client.sendall(post_bytes(FOR_EVER | {"streaming": True} | fields))
        received = b""
        while b'"text"' not in received:
            received += client.recv(1 << 16)
        self.assertTrue(received.startswith(b"HTTP/1.1 200 "), received[:100])
        return client

    # ---- clients

    def test_disconnect_cancels(self):
        server = self.serve(backend="cpu")
        self.start_stream(server).close()
        wait_for(lambda: server.metric(CANCELLED) == 1, "the stream of a client that left is cancelled")
        with server.socket() as client:
            client.sendall(post_bytes(FOR_EVER))
            wait_for(lambda: server.metric("llm_requests_running") == 1, "the request runs")
        wait_for(lambda: server.metric(CANCELLED) == 2, "the request of a client that left is cancelled")
        self.assertEqual(server.generate(prompt="a", max_tokens=2)["usage"]["completion_tokens"], 2)

    def test_leaving_at_the_end(self):
        """Clients that leave about when their last text comes: whoever lets go of an answer last frees it, once."""
        server = self.serve(backend="null")
        for i in range(400):
            with server.socket() as client:
                client.sendall(post_bytes({"prompt": "Once", "max_tokens": 1 + i % 40, "streaming": i % 2 == 0}))
                if i % 3:
                    client.recv(1 + i % 5)
        wait_for(lambda: server.metric("llm_requests_running") == 0, "every request has ended")
        self.assertEqual(server.generate(prompt="a", max_tokens=5)["usage"]["completion_tokens"], 5)

    def test_timeout(self):
        """A request's own limit of time ends it wherever it is: with 504, or in a stream with an error."""
        server = self.serve(backend="cpu")
        status, _, body = server.post(FOR_EVER | {"timeout_s": 0.05})
        self.assertEqual(status, 504, body)
        self.assertRegex(json.loads(body)["error"], r"^The request has taken the 0.05 seconds of its timeout_s; \d+ tokens "
                                                    r"were generated.$")
        _, _, body = server.post(FOR_EVER | {"timeout_s": 0.05, "streaming": True})
        last = sse_objects(body)[-1] if body.startswith(b"data:") else json.loads(body)
        self.assertIn("seconds of its timeout_s", last["error"])
        wait_for(lambda: server.metric("llm_requests_running") == 0, "both have left")
        self.assertEqual(server.generate(prompt="a", max_tokens=2, timeout_s=60)["usage"]["completion_tokens"], 2)

    def test_stall(self):
        """A step that takes longer than it may makes /health say so, and its end makes it healthy again. The reference
        backend is slow enough."""
        engine = Engine("--target", "reference")
        self.addCleanup(engine.remove)
        server = self.serve("--stall-timeout", "0.005", backend="reference", engine=engine)
        with server.socket() as client:
            client.sendall(post_bytes({"prompt": "word " * 4000, "max_tokens": 1}))
            body = wait_for(lambda: next((b for s, _, b in [server.get("/health")] if s == 503), None), "the engine stalls")
            self.assertRegex(json.loads(body)["error"], r"^Requests wait and no step has ended for [0-9.e-]+ seconds\.$")
            self.assertEqual(server.get("/live")[0], 200)
        wait_for(lambda: server.get("/health")[0] == 200, "the engine is healthy again")

    def test_slow_client(self):
        """One client takes nothing; others are served; then it gets all of its text, merged where it lagged."""
        server = self.serve()
        wanted = FOR_EVER | {"seed": 1}
        with server.socket(receive_bytes=4096) as slow:
            slow.sendall(post_bytes(wanted | {"streaming": True}))
            wait_for(lambda: server.metric('llm_requests_finished_total{reason="length"}') == 1, "the engine is done")
            for _ in range(3):
                self.assertEqual(server.generate(prompt="a", max_tokens=5)["usage"]["completion_tokens"], 5)
            slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            answer = receive_all(slow)
        whole = server.generate(**wanted)
        objects = sse_objects(unchunked(answer))
        self.assertEqual("".join(o["text"] for o in objects), whole["text"])
        self.assertTrue(objects[-1]["finished"])
        self.assertLess(len(objects), wanted["max_tokens"], "nothing was merged: the client was not slow")

    def test_many_at_once(self):
        server = self.serve("--workers", "2", backend="cpu")
        wanted = [{"prompt": f"number {i}", "max_tokens": 8, "seed": i} for i in range(32)]
        alone = [server.generate(**w) for w in wanted]
        with concurrent.futures.ThreadPoolExecutor(32) as pool:
            together = list(pool.map(lambda w: server.generate(**w), wanted))
        self.assertEqual(together, alone)

    def test_full_queue(self):
        """Requests without end pile up until one is refused; nothing else suffers."""
        engine = Engine("--max-batch-size", "1")
        self.addCleanup(engine.remove)
        server = self.serve("--max-queue", "1", backend="cpu", engine=engine)
        clients = [server.socket() for _ in range(10)]
        for client in clients:
            self.addCleanup(client.close)
            client.sendall(post_bytes(FOR_EVER))
        refused = select.select(clients, [], [], spate_server.WAIT_SECONDS)[0][0].recv(1 << 16)
        self.assertTrue(refused.startswith(b"HTTP/1.1 429 Too Many Requests\r\n"), refused)
        self.assertIn(b"\r\nRetry-After: 1\r\n", refused)
        self.assertEqual(server.get("/health")[0], 200)

    def test_full_queue_of_tokens(self):
        """The same by tokens of prompts and answers; one request alone is never too many."""
        engine = Engine("--max-batch-size", "1")
        self.addCleanup(engine.remove)
        server = self.serve("--max-queue-tokens", "100", backend="cpu", engine=engine)
        running = self.start_stream(server)  # has its first token: waits no longer
        waiting = server.socket()
        self.addCleanup(waiting.close)
        waiting.sendall(post_bytes(FOR_EVER))
        wait_for(lambda: server.metric("llm_requests_total") == 2, "a request of more than 100 tokens waits")
        for path, fields in (("/generate", {"prompt": "a", "max_tokens": 1}), ("/v1/completions", {"prompt": "a", "max_tokens": 1}),
                             ("/v1/chat/completions", {"messages": [{"role": "user", "content": "a"}]})):
            status, headers, body = server.request("POST", path, json.dumps(fields), spate_server.JSON)
            self.assertEqual((status, headers["Retry-After"]), (429, "1"), body)
            self.assertRegex(str(json.loads(body)["error"]), r"The waiting requests have \d+ tokens; \d+ more would pass "
                                                             r"the limit of 100: try again later")
        self.assertEqual(server.get("/health")[0], 200)
        running.close()
        waiting.close()
        wait_for(lambda: server.metric("llm_requests_running") == 0, "both have left")
        self.assertEqual(server.generate(prompt="a", max_tokens=2)["usage"]["completion_tokens"], 2)

    def test_flood_of_low_priority(self):
        """A full queue of requests that matter less gives way, the last ones first, to those that matter more."""
        engine = Engine("--max-batch-size", "1")
        self.addCleanup(engine.remove)
        server = self.serve("--max-queue", "8", backend="cpu", engine=engine)
        running = self.start_stream(server)
        low = []
        for i in range(8):
            low.append(server.socket())
            self.addCleanup(low[i].close)
            low[i].sendall(post_bytes({"prompt": "a", "max_tokens": 2, "priority": 7, "streaming": i % 2 == 0}))
            wait_for(lambda: server.metric("llm_requests_total") == i + 2, "it waits")
        status, headers, body = server.post({"prompt": "a", "max_tokens": 1, "priority": 7})
        self.assertEqual((status, headers["Retry-After"]), (429, "1"), body)
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            better = [pool.submit(server.generate, prompt=f"number {i}", max_tokens=3, priority=i) for i in range(3)]
            for client in low[:4:-1]:
                answer = receive_all(client)
                self.assertTrue(answer.startswith(b"HTTP/1.1 429 "), answer)
                self.assertIn(b"\r\nRetry-After: 1\r\n", answer)
                self.assertIn(b"a request of a better priority than 7 has taken the place of this one", answer)
            self.assertEqual([server.metric(f'llm_requests_shed_total{{priority="{name}",reason="place"}}') for name in ("high", "normal", "low")],
                             [0, 0, 3])
            running.close()
            self.assertEqual([one.result()["usage"]["completion_tokens"] for one in better], [3, 3, 3])
        for client in low[:5]:
            self.assertTrue(receive_all(client).startswith(b"HTTP/1.1 200 "))

    def test_too_many_connections(self):
        server = self.serve("--limit-concurrency", "2")
        idle = [server.socket() for _ in range(2)]
        wait_for(lambda: server.raw(b"").startswith(b"HTTP/1.1 503 "), "the third connection is told so")
        for client in idle:
            client.close()
        wait_for(lambda: server.get("/health")[0] == 200, "there is room again")

    # ---- the server

    def test_drain(self):
        """SIGTERM: not ready, no new work, the stream that runs ends as it would have, exit 0."""
        server = self.serve(backend="cpu")
        client = self.start_stream(server, max_tokens=400)
        server.stop()
        wait_for(lambda: server.get("/ready")[0] == 503, "it is no longer ready")
        self.assertEqual(server.get("/live")[0], 200)
        status, headers, body = server.post({"prompt": "a", "max_tokens": 1})
        self.assertEqual((status, headers["Retry-After"]), (503, "1"))
        self.assertIn("shutting down", json.loads(body)["error"])
        rest = receive_all(client)
        self.assertIn(b'"finished":true,"generated_tokens":400', rest)
        self.assertEqual(server.exit_code(), 0)

    def test_shutdown_timeout(self):
        """What runs gets no longer than was said."""
        server = self.serve("--shutdown-timeout", "0", backend="cpu")
        client = self.start_stream(server)
        server.stop()
        self.assertIn(b'"finish_reason":"cancelled"', receive_all(client))
        self.assertEqual(server.exit_code(), 0)

    def test_interrupt_when_idle(self):
        server = self.serve()
        with server.socket():
            server.stop(signal.SIGINT)
            self.assertEqual(server.exit_code(), 0)

    def test_second_signal(self):
        """It cancels what runs, and each client is told."""
        server = self.serve(backend="cpu")
        stream = self.start_stream(server)
        with server.socket() as whole:
            whole.sendall(post_bytes(FOR_EVER))
            wait_for(lambda: server.metric("llm_requests_running") == 2, "both run")
            server.stop()
            wait_for(lambda: server.get("/ready")[0] == 503, "it is no longer ready")
            server.stop()
            self.assertIn(b'"finish_reason":"cancelled"', receive_all(stream))
            answer = receive_all(whole)
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 "), answer[:80])
        self.assertIn(b"The request was cancelled because the server is stopping.", answer)
        self.assertEqual(server.exit_code(), 0)

    def test_kill_and_serve_again(self):
        server = self.serve(backend="cpu")
        client = self.start_stream(server)
        server.stop(signal.SIGKILL)
        self.assertEqual(server.exit_code(), -signal.SIGKILL)
        receive_until_reset(client)
        again = self.serve(port=server.port)
        self.assertEqual(again.get("/health")[0], 200)

    def test_port_in_use(self):
        server = self.serve()
        with self.assertRaisesRegex(AssertionError, f"(?s)spate: .*{server.port}"):
            Server(self.engine, port=server.port)

    def test_truncated_engine(self):
        """The file shrinks while a whole answer and a stream are made: both end with the sentence, and so do we."""
        engine = Engine()
        self.addCleanup(engine.remove)
        server = Server(engine, backend="cpu")
        self.addCleanup(server.__exit__)
        stream = self.start_stream(server)
        with server.socket() as waiting:
            waiting.sendall(post_bytes(FOR_EVER))
            wait_for(lambda: server.metric("llm_requests_total") == 2, "both are with the engine")
            os.truncate(engine.path, os.path.getsize(engine.path) // 2)
            answer = receive_all(waiting)
        self.assertTrue(answer.startswith(b"HTTP/1.1 503 Service Unavailable\r\n"), answer[:200])
        sentence = json.loads(answer.split(b"\r\n\r\n", 1)[1])["error"]
        last = receive_all(stream)
        self.assertIn(b'"finished":true', last)
        self.assertIn(json.dumps(sentence).encode(), last)
        for path in ("/health", "/ready", "/generate?prompt=a"):  # until the port has closed
            try:
                self.assertEqual(server.get(path)[0], 503)
            except OSError:
                pass
        self.assertEqual(server.exit_code(), 1)
        self.assertIn(f"spate: {sentence}", server.errors())

    def test_damaged_engine(self):
        """A bit of a weight is wrong: found by hashing while serving has begun, and it ends with the sentence."""
        engine = Engine()
        self.addCleanup(engine.remove)
        flip_bit(engine.path, 2 << 20)  # the weights begin at a multiple of this
        server = Server(engine)
        self.addCleanup(server.__exit__)
        self.assertEqual(server.exit_code(), 1)
        self.assertRegex(server.errors(), f"spate: {engine.path} is damaged: the weight .* does not match its checksum")
        self.assertTrue(engine.path.exists(), "an engine file that somebody made was removed")

    def test_damaged_cache(self):
        """The same in the cache: the engine is removed with a sentence, and the next start builds it again."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-cache-"))
        self.addCleanup(shutil.rmtree, folder)
        model = types.SimpleNamespace(path=spate_server.ROOT / "tests/fixtures/model/smollm2")
        options = ("--cache-dir", str(folder))
        with Server(model, *options) as server:
            self.assertEqual(server.get("/health")[0], 200)
        [cached] = folder.glob("*.spate")
        flip_bit(cached, 2 << 20)
        with Server(model, *options) as server:
            self.assertEqual(server.exit_code(), 1)
            self.assertRegex(server.errors(), f"spate: {cached} is damaged: the weight .* does not match its checksum. It "
                                              "was built into the cache and has been removed: start again to build it anew.")
        self.assertFalse(cached.exists())
        with Server(model, *options) as server:
            self.assertEqual(server.generate(prompt="a", max_tokens=2)["usage"]["completion_tokens"], 2)
        self.assertTrue(cached.exists())


def flip_bit(path, place):
    with open(path, "r+b") as file:
        file.seek(place)
        byte = file.read(1)[0]
        file.seek(place)
        file.write(bytes([byte ^ 1]))


def receive_until_reset(client):
    try:
        return receive_all(client)
    except ConnectionError:
        return b""


if __name__ == "__main__":
    spate_server.main(__name__)
