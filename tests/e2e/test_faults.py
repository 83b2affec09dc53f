"""Clients that leave in every phase of their request or read nothing, more of them than may wait, a server that is killed
under load: what they held comes back, memory stays bounded, and nobody gets another text than the right one."""
import concurrent.futures
import http.client
import json
import random
import selectors
import signal
import socket
import threading
import time

import spate_server
from spate_server import JSON, SANITIZED, Engine, Server, post_bytes, receive_all, sse_objects, unchunked, wait_for

FOR_EVER = {"prompt": "Once", "max_tokens": Engine.MAX_SEQ_LEN - 64}
LONG = {"prompt": "word " * 12000, "max_tokens": 8}
CANCELLED = 'llm_requests_finished_total{reason="cancelled"}'
GAUGES = "llm_requests_running", "llm_requests_waiting", "llm_kv_cache_usage_ratio"


def text_of(stream):
    """The text and the end of a stream, as far as it has come."""
    text, finished = "", False
    for event in stream.split(b"\n\n")[:-1]:
        fields = json.loads(event.removeprefix(b"data: "))
        text += fields["text"]
        finished = fields["finished"]
    return text, finished


class Faults(spate_server.EngineCase):
    def serve(self, *options, backend="cpu", engine=None, **more):
        server = Server(engine or self.engine, *options, backend=backend, **more)
        self.addCleanup(server.__exit__)
        return server

    def send(self, server, fields):
        client = server.socket()
        self.addCleanup(client.close)
        client.sendall(post_bytes(fields))
        return client

    def wait_empty(self, server):
        wait_for(lambda: all(server.metric(name) == 0 for name in GAUGES), "seats and blocks have come back")

    # ---- clients that leave

    def test_half_of_the_streams_leave(self):
        """Every other one of 200, at a random moment of an endless one; the rest get the text that they would have got alone."""
        engine = Engine("--max-batch-size", "64")
        self.addCleanup(engine.remove)
        server, draw = self.serve(engine=engine), random.Random(1)
        wanted = [{"prompt": f"stream {seed}", "max_tokens": 150, "seed": seed} for seed in range(8)]
        alone = [server.generate(**fields)["text"] for fields in wanted]
        chooser, received = selectors.DefaultSelector(), {}
        for i in range(200):
            leaves = i // 8 % 2
            client = self.send(server, wanted[i % 8] | {"streaming": True} | ({"max_tokens": FOR_EVER["max_tokens"]} if leaves else {}))
            received[client] = b""
            chooser.register(client, selectors.EVENT_READ, (i, draw.randrange(8000) if leaves else None))
        while chooser.get_map():
            for key, _ in chooser.select(timeout=spate_server.WAIT_SECONDS):
                client, (i, leave_at) = key.fileobj, key.data
                piece = client.recv(1 << 12)
                received[client] += piece
                leaves = leave_at is not None and len(received[client]) >= leave_at
                if piece and not leaves:
                    continue
                chooser.unregister(client)
                client.close()
                if not leaves:
                    self.assertEqual(text_of(unchunked(received[client])), (alone[i % 8], True))
        self.wait_empty(server)
        self.assertGreater(server.metric(CANCELLED), 0)

    def test_leaving_in_each_phase(self):
        engine = Engine("--max-batch-size", "1", "--max-num-tokens", "16")
        self.addCleanup(engine.remove)
        server = self.serve("--no-enable-block-reuse", engine=engine)
        first = self.send(server, FOR_EVER)
        wait_for(lambda: server.metric("llm_requests_running") == 1, "the first one runs")
        queued = self.send(server, FOR_EVER)
        wait_for(lambda: server.metric("llm_requests_waiting") == 1, "the second one waits")
        queued.close()
        wait_for(lambda: server.metric(CANCELLED) == 1, "who waits is cancelled")
        self.assertEqual([server.metric(name) for name in GAUGES[:2]], [1, 0])
        first.close()  # while it decodes
        self.wait_empty(server)

        def ends_early():
            """False also where the machine took longer to see it off than to compute it all."""
            before, cancelled = server.metric("llm_prompt_tokens_total"), server.metric(CANCELLED)
            prefilling = self.send(server, LONG)
            wait_for(lambda: server.metric("llm_prompt_tokens_total") > before, "its prompt is being computed")
            prefilling.close()
            self.wait_empty(server)
            computed = server.metric("llm_prompt_tokens_total") - before
            return computed < len(LONG["prompt"].split()) and server.metric(CANCELLED) == cancelled + 1
        self.assertEqual(server.metric(CANCELLED), 2)
        wait_for(ends_early, "a prompt whose client has left is not computed to its end")

    def test_leaving_before_tokens(self):
        """Prompts that take a while to tokenize, whose clients are gone by then: all that was accepted is cancelled."""
        server = self.serve()
        for _ in range(20):
            self.send(server, FOR_EVER | {"prompt": "word " * 10000}).close()
        wait_for(lambda: server.metric("llm_requests_total") > 0, "some were accepted")
        wait_for(lambda: server.metric(CANCELLED) == server.metric("llm_requests_total"), "they are cancelled")
        self.wait_empty(server)

    # ---- clients that do not read

    def resident_bytes(self, server):
        if SANITIZED:
            self.skipTest("SKIPPED: a sanitizer keeps memory that was freed")
        return server.resident_bytes()

    def test_unread_streams_hold_little(self):
        """What a client does not read is held once, as text; nothing is held of how it came."""
        server = self.serve(backend="null")
        size = len(server.generate(**FOR_EVER)["text"].encode())
        before = self.resident_bytes(server)
        for _ in range(8):
            client = server.socket(receive_bytes=4096)
            self.addCleanup(client.close)
            client.sendall(post_bytes(FOR_EVER | {"streaming": True}))
        wait_for(lambda: server.metric('llm_requests_finished_total{reason="length"}') == 9, "all have been generated")
        wait_for(lambda: server.metric("llm_kv_cache_usage_ratio") == 0, "their blocks are free")  # set when the step ends
        each = (self.resident_bytes(server) - before) / 8
        self.assertLess(each, 2 * size + (512 << 10), "bytes that a client holds which reads nothing")

    def test_unread_choices_are_bounded(self):
        """The limit of 32 MiB is of a client, however many choices it asked for: then they are cancelled, and it is told."""
        server = self.serve(backend="null")
        fields = FOR_EVER | {"n": 128, "logprobs": 20, "stream": True}
        before = self.resident_bytes(server)
        with server.socket(receive_bytes=4096) as client:
            client.sendall(post_bytes(fields, path="/v1/completions"))
            wait_for(lambda: server.metric(CANCELLED) == 1, "the request with all its choices is cancelled")
            self.assertLess(server.resident_bytes() - before, 80 << 20)  # a buffer that has doubled is twice what it holds
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            end = receive_all(client)[-1000:]
        self.assertIn(b"The client took its answer too slowly and the request was cancelled.", end)
        self.assertTrue(end.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"), end)
        self.wait_empty(server)

    def test_each_choice_gets_its_turn(self):
        """A client that is slow for a while gets all of each text. Those of the null backend go by the seat, which may be
        another choice's the second time."""
        server = self.serve(backend="null")
        fields = {"prompt": ["a", "b"], "n": 8, "max_tokens": 8000}
        whole = json.loads(server.request("POST", "/v1/completions", json.dumps(fields), JSON)[2])
        with server.socket(receive_bytes=4096) as client:
            client.sendall(post_bytes(fields | {"stream": True}, path="/v1/completions"))
            wait_for(lambda: server.metric('llm_requests_finished_total{reason="length"}') == 4, "all is generated")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            stream = unchunked(receive_all(client))
        texts = [""] * 16
        for event in sse_objects(stream.removesuffix(b"data: [DONE]\n\n")):
            texts[event["choices"][0]["index"]] += event["choices"][0]["text"]
        self.assertTrue(sorted(texts) == sorted(choice["text"] for choice in whole["choices"]), "a text is not whole")

    def test_an_event_is_whole_or_told(self):
        """Log-probabilities are many times as large in an event as where they wait: one that would be over the limit is
        not sent in part, and an error says so."""
        server = self.serve(backend="null")
        fields = {"messages": [{"role": "user", "content": "Once"}], "max_tokens": FOR_EVER["max_tokens"], "stream": True,
                  "logprobs": True, "top_logprobs": 20}
        with server.socket(receive_bytes=4096) as client:
            client.sendall(post_bytes(fields, path="/v1/chat/completions"))
            wait_for(lambda: server.metric('llm_requests_finished_total{reason="length"}') == 1, "all is generated")
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 20)
            stream = unchunked(receive_all(client))
        events = sse_objects(stream.removesuffix(b"data: [DONE]\n\n"))
        self.assertIn("The next event is larger than one response may be", events[-1]["error"]["message"])
        self.assertTrue(all(event["choices"][0]["logprobs"]["content"] for event in events[:-1]))
        self.wait_empty(server)

    def test_echo_is_bounded(self):
        server = self.serve(backend="null")
        fields = {"prompt": "x" * 900000, "n": 128, "echo": True, "max_tokens": 1}
        status, _, body = server.request("POST", "/v1/completions", json.dumps(fields), JSON)
        self.assertEqual((status, json.loads(body)["error"]["message"]),
                         (400, "The echo is larger than one response may be: leave echo out."))

    # ---- too many

    def test_overload(self):
        """Where the queue is full one more is told to come back. Ten times what it takes, at once: each is served right, or told so."""
        engine = Engine("--max-batch-size", "2")
        self.addCleanup(engine.remove)
        server = self.serve("--max-queue", "8", engine=engine)
        wanted = {"prompt": "Once", "max_tokens": 100, "seed": 1}
        right = server.generate(**wanted)["text"]
        held = [self.send(server, FOR_EVER) for _ in range(10)]
        wait_for(lambda: [server.metric(name) for name in GAUGES[:2]] == [2, 8], "all places are taken")
        self.assertEqual(server.post(wanted)[0], 429)
        for client in held:
            client.close()
        self.wait_empty(server)
        with concurrent.futures.ThreadPoolExecutor(100) as pool:
            for status, headers, body in pool.map(lambda _: server.post(wanted), range(300)):
                if status == 429:
                    self.assertEqual(headers["Retry-After"], "1")
                else:
                    self.assertEqual((status, json.loads(body)["text"]), (200, right))
        self.wait_empty(server)
        self.assertEqual(server.generate(**wanted)["text"], right)

    # ---- a server that dies

    def test_kill_under_load(self):
        """Killed three times and served again each time: its clients get errors, and never a wrong text."""
        server = self.serve()
        wanted = [{"prompt": f"client {seed}", "max_tokens": 300, "seed": seed} for seed in range(8)]
        right = [server.generate(**fields)["text"] for fields in wanted]
        over, done, lost, wrong = threading.Event(), [0] * 8, [0] * 8, []

        def ask(i):
            connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=spate_server.WAIT_SECONDS)
            answer = b""
            try:
                connection.request("POST", "/generate", json.dumps(wanted[i] | {"streaming": True}), JSON)
                response = connection.getresponse()
                while piece := response.read1(1 << 16):
                    answer += piece
                whole = True
            except (OSError, http.client.HTTPException):
                whole = False
            finally:
                connection.close()
            text, finished = text_of(answer)
            if whole:
                done[i] += 1
            else:
                lost[i] += 1
                time.sleep(0.01)  # a client that hammers a port where nobody listens may in the end connect to itself
            if (text, finished) != (right[i], True) if whole else not right[i].startswith(text):
                wrong.append((i, whole, text))

        def ask_on(i):
            while not over.is_set():
                ask(i)

        clients = [threading.Thread(target=ask_on, args=(i,)) for i in range(8)]
        for client in clients:
            client.start()
        try:
            for _ in range(3):
                before = list(done)
                wait_for(lambda: all(d > b for d, b in zip(done, before)), "each client has had an answer")
                losses = sum(lost)
                server.stop(signal.SIGKILL)
                self.assertEqual(server.exit_code(), -signal.SIGKILL)
                wait_for(lambda: sum(lost) > losses, "clients have noticed")
                server = self.serve(port=server.port)
            before = list(done)
            wait_for(lambda: all(d > b for d, b in zip(done, before)), "each client is served again")
        finally:
            over.set()
            for client in clients:
                client.join()
        self.assertEqual(wrong, [])
        self.wait_empty(server)


if __name__ == "__main__":
    spate_server.main(__name__)
