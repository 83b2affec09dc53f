"""The log of requests: one JSON object a line, tied to the answer by its id, and nothing that a client wrote in it."""
import json
import re

import spate_server
from spate_server import JSON, Engine, Server, post_bytes, receive_all, wait_for

SECRET = "marzipanSecret"
TIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$")
FOR_EVER = {"prompt": "Once", "max_tokens": Engine.MAX_SEQ_LEN - 64}


class Logs(spate_server.EngineCase):
    def serve(self, *options, backend="null"):
        server = Server(self.engine, *options, backend=backend)
        self.addCleanup(server.__exit__)
        return server

    def lines(self, server):
        """The log's objects. It is JSON from the first line to the last, and lines end with line feeds alone."""
        log = server.errors()
        self.assertEqual(log.splitlines(), log.split("\n")[:-1], "something else than a line feed ends a line")
        objects = [json.loads(line) for line in log.splitlines()]
        for entry in objects:
            self.assertRegex(entry["time"], TIME)
            self.assertIn(entry["level"], ("error", "warning", "info", "debug"))
            self.assertIsInstance(entry["message"], str)
        return objects

    def line(self, server, identity, message="request"):
        found = lambda: [o for o in self.lines(server) if o.get("request_id") == identity and o["message"] == message]
        entries = wait_for(found, f"{identity} is logged")
        self.assertEqual(len(entries), 1, entries)
        return entries[0]

    def post(self, server, path, fields, **headers):
        status, head, body = server.request("POST", path, json.dumps(fields), JSON | headers)
        return status, self.line(server, head["X-Request-ID"]), body

    def test_answers(self):
        """What is logged of each kind of answer is what its client was told."""
        server = self.serve("--log-format", "json")
        status, entry, body = self.post(server, "/generate", {"prompt": "word", "max_tokens": 5})
        usage = json.loads(body)["usage"]
        self.assertEqual((status, entry["level"], entry["method"], entry["route"], entry["status"]),
                         (200, "info", "POST", "/generate", 200))
        self.assertEqual((entry["prompt_tokens"], entry["generated_tokens"], entry["finish_reason"]),
                         (usage["prompt_tokens"], 5, "length"))
        self.assertGreater(entry["bytes_in"], 0)
        self.assertGreater(entry["bytes_out"], len(body))
        self.assertLessEqual(entry["ttft_ms"], entry["duration_ms"])
        self.assertNotIn("aborted", entry)
        _, entry, _ = self.post(server, "/v1/completions", {"prompt": ["a", "b"], "n": 2, "max_tokens": 3, "stream": True})
        self.assertEqual((entry["generated_tokens"], entry["finish_reason"], entry["route"]), (12, "length", "/v1/completions"))
        chat = {"messages": [{"role": "user", "content": "word"}], "max_tokens": 2}
        _, entry, body = self.post(server, "/v1/chat/completions", chat)
        self.assertEqual(entry["prompt_tokens"], json.loads(body)["usage"]["prompt_tokens"])

    def test_refusals(self):
        """What never reached the engine has no tokens; paths that do not generate are there at the level debug only."""
        server = self.serve("--log-format", "json", "--log-level", "debug")
        status, entry, _ = self.post(server, "/generate", {"prompt": 5})
        self.assertEqual((status, entry["status"], entry["level"]), (400, 400, "info"))
        self.assertFalse({"prompt_tokens", "generated_tokens", "finish_reason", "ttft_ms"} & set(entry))
        for path, route, status in (("/health", "/health", 200), ("/nowhere", "none", 404), ("/v1/models/x", "/v1/models/{model}", 404)):
            head = server.get(path)[1]
            entry = self.line(server, head["X-Request-ID"])
            self.assertEqual((entry["level"], entry["route"], entry["status"]), ("debug", route, status))
        quiet = self.serve("--log-format", "json")
        quiet.get("/health")
        self.post(quiet, "/generate", {"prompt": "a", "max_tokens": 1})
        first, second, *rest = self.lines(quiet)
        self.assertRegex(first["message"], r"^Runs on .*: \d+ MiB of weights, \d+ MiB of KV cache in \w+\.$")
        self.assertRegex(second["message"], r"^Opening took \d+\.\d+ s for the file, ")
        self.assertEqual([o["route"] for o in rest], ["/generate"])

    def test_ends(self):
        """Out of time, and a client that leaves before or within its answer."""
        server = self.serve("--log-format", "json", backend="cpu")
        status, entry, _ = self.post(server, "/generate", FOR_EVER | {"timeout_s": 0.05})
        self.assertEqual((status, entry["status"], entry["finish_reason"]), (504, 504, "failed"))
        for streaming, logged in ((False, 499), (True, 200)):
            with server.socket() as client:
                client.sendall(post_bytes(FOR_EVER | {"streaming": streaming}, f"X-Request-ID: left-{streaming}\r\n"))
                wait_for(lambda: server.metric("llm_requests_running") == 1, "the request runs")
                while streaming and b'"text"' not in client.recv(1 << 16):
                    pass
            entry = self.line(server, f"left-{streaming}")
            self.assertEqual((entry["status"], entry["finish_reason"], entry.get("aborted")), (logged, "cancelled", True))
            self.assertEqual("ttft_ms" in entry, entry["generated_tokens"] > 0)
        with server.socket() as client:
            client.sendall(post_bytes(FOR_EVER, "X-Request-ID: stopped\r\n"))
            wait_for(lambda: server.metric("llm_requests_running") == 1, "the request runs")
            server.stop()
            wait_for(lambda: server.get("/ready")[0] == 503, "the first signal has arrived")
            server.stop()
            self.assertTrue(receive_all(client).startswith(b"HTTP/1.1 503 "))
        self.assertEqual(server.exit_code(), 0)
        self.assertEqual(self.line(server, "stopped")["finish_reason"], "cancelled")
        self.assertTrue(any(o["message"].startswith("Stopping: ") for o in self.lines(server)))

    def send_secrets(self, server):
        """Every way in which a client's text reaches the server. Returns the texts that were generated."""
        chat = {"messages": [{"role": SECRET, "content": SECRET}, {"role": "user", "content": SECRET}], "max_tokens": 40}
        texts = [server.generate(prompt=SECRET, max_tokens=40)["text"]]
        server.post({"prompt": SECRET, "streaming": True, "stop": [SECRET], "max_tokens": 40})
        for path, fields in (("/v1/completions", {"prompt": [SECRET, SECRET], "max_tokens": 2, "echo": True}),
                             ("/v1/chat/completions", chat), ("/v1/chat/completions", chat | {"stream": True}),
                             ("/v1/completions", {"prompt": SECRET, "model": SECRET, SECRET: 1, "user": SECRET}),
                             ("/v1/completions", {"prompt": SECRET, "max_tokens": SECRET}),
                             ("/v1/completions", {"prompt": SECRET, "stop": ["", SECRET]}),
                             ("/tokenize", {"prompt": SECRET}), ("/detokenize", {"tokens": [1, 2, SECRET]})):
            server.request("POST", path, json.dumps(fields), JSON)
        server.request("POST", "/generate", '{"prompt": "' + SECRET, JSON)
        for path in (f"/generate?prompt={SECRET}&max_tokens=2", f"/{SECRET}", f"/v1/models/{SECRET}", f"/a%0a{SECRET}%0d%0a",
                     f"/generate?{SECRET}=1"):
            server.get(path, {"X-Request-ID": f"bad {SECRET}", "Authorization": f"Bearer {SECRET}", SECRET: SECRET,
                              "Origin": SECRET, "Accept": SECRET})
        server.request(SECRET, "/health")
        server.raw(f"GET / HTTP/1.1\r\nHost: t\r\nBad Name{SECRET}: x\r\n\r\n".encode())
        server.raw(f"GET /generate HTTP/1.1\r\nHost: t\r\nConnection: close\r\nX-Request-ID: a\tb{SECRET}\r\n\r\n".encode())
        return texts

    def test_nothing_of_clients(self):
        """No prompt, no generated text, no path or header as sent: at no level, in no form, by default."""
        for form in "text", "json":
            server = self.serve("--log-format", form, "--log-level", "debug", "--allowed-origins", "*")
            texts = self.send_secrets(server)
            server.stop()
            self.assertEqual(server.exit_code(), 0)
            log = server.errors()
            self.assertEqual(log.count("\n"), 2 + 20, log)  # the first two say what it runs on and how long opening took
            for text in [SECRET] + texts:
                self.assertGreater(len(text), 10)
                self.assertNotIn(text, log)

    def test_prompts(self):
        """--log-prompts: the beginning of each, which cannot leave its line."""
        server = self.serve("--log-format", "json", "--log-prompts")
        evil = "a\r\n{\"level\":\"error\"}\u2028\u0085\x1b[2J\"\\"
        head = server.post({"prompt": evil, "max_tokens": 1})[1]
        self.assertEqual(self.line(server, head["X-Request-ID"], "prompt")["prompt"], evil)
        for prompt in ("\u00e9" * 5000, "\n" * 3000, "x" * 1024):
            head = server.post({"prompt": prompt, "max_tokens": 1})[1]
            logged = self.line(server, head["X-Request-ID"], "prompt")["prompt"]
            self.assertTrue(prompt.startswith(logged) and 100 < len(logged) <= 1024, len(logged))
        fields = {"prompt": [SECRET, "b"], "max_tokens": 1}
        head = server.request("POST", "/v1/completions", json.dumps(fields), JSON)[1]
        entry = self.line(server, head["X-Request-ID"], "prompt")
        self.assertEqual((entry["prompt"], entry["prompts"]), (SECRET, 2))
        head = server.request("POST", "/v1/completions", json.dumps({"prompt": [1, 2, 3], "max_tokens": 1}), JSON)[1]
        entry = self.line(server, head["X-Request-ID"], "prompt")
        self.assertEqual((entry.get("prompt"), entry["tokens"]), (None, 3))
        text = self.serve("--log-format", "text", "--log-prompts")
        text.post({"prompt": evil, "max_tokens": 1})
        wait_for(lambda: " request " in text.errors(), "it is logged")
        for line in text.errors().splitlines()[2:]:
            self.assertRegex(line, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z info (prompt|request) request_id=\"")

    def test_start(self):
        """What goes wrong at the start is an object too."""
        server = self.serve()
        with self.assertRaises(AssertionError) as failed:
            Server(self.engine, "--log-format", "json", "--workers", "2", port=server.port)
        entry = json.loads(str(failed.exception))
        self.assertEqual((entry["level"], entry["message"].split(":")[0]),
                         ("error", f"Cannot listen on 127.0.0.1 port {server.port}"))


if __name__ == "__main__":
    spate_server.main(__name__)
