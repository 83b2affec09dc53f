"""examples/fastapi_server.py is the article's server, and under uvicorn does what that promises: concurrent streams,
whole answers, health, an end of what nobody waits for."""
import json
import os
import pathlib
import re
import select
import signal
import socket
import subprocess
import tempfile
import threading
import unittest

import spate_python
import spate
import spate_server
from spate import SamplingParams

CLIENTS = os.environ.get("SPATE_TEST_CLIENTS")
EXAMPLE = spate_python.ROOT / "examples/fastapi_server.py"
PROMPTS = ["Once upon", "Twice", "a", "über 😀", "b b", "Once upon a time there", "1", "no"]


def code_lines(path):
    """Without what a formatter may change, and a comment that begins the file."""
    lines = [re.sub(r"\s+", " ", line).strip() for line in path.read_text().splitlines()]
    while lines[0].startswith("#"):
        lines.pop(0)
    return [line for line in lines if line]


class Article(unittest.TestCase):
    def test_only_imports_have_changed(self):
        theirs = code_lines(spate_python.ROOT / "tests/fixtures/python/article_server.txt")
        ours = code_lines(EXAMPLE)
        changed = [(a, b) for a, b in zip(theirs, ours, strict=True) if a != b]
        self.assertEqual(changed, [("from tensorrt_llm._tensorrt_engine import LLM", "from spate.llmapi import LLM"),
                                   ("from tensorrt_llm.llmapi import SamplingParams", "from spate.llmapi import SamplingParams")])


class Uvicorn(spate_server.Server):
    """The example under uvicorn, on a free port, with the model's folder changed to a file that there is, and a route
    that tells what the engine does."""

    METRICS = "\nfrom fastapi.responses import PlainTextResponse\n" \
              'app.get("/metrics", response_class=PlainTextResponse)(lambda: llm.metrics())\n'

    def __init__(self, engine, *options):
        self.folder = tempfile.TemporaryDirectory(prefix="spate-python-")
        code, count = re.subn('"/models/llama-7b-trt"', repr(str(engine.path)), EXAMPLE.read_text())
        assert count == 1
        (pathlib.Path(self.folder.name) / "fastapi_server.py").write_text(code + self.METRICS)
        self.log = tempfile.TemporaryFile()
        command = [CLIENTS, "-m", "uvicorn", "fastapi_server:app", "--host", "127.0.0.1", "--port", "0", *options]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log, cwd=self.folder.name,
                                        env=spate_python.ENVIRONMENT, start_new_session=True)
        self.port = int(spate_server.wait_for(lambda: self.said(r"running on http://127\.0\.0\.1:(\d+)"), "it listens"))
        spate_server.wait_for(lambda: self.said("(startup complete)"), "the engine is open")
        spate_server.wait_for(self.reachable, "a worker listens")  # which it does behind what it says

    def reachable(self):
        try:
            socket.create_connection(("127.0.0.1", self.port)).close()
        except ConnectionRefusedError:
            return False
        return True

    def said(self, pattern):
        assert self.process.poll() is None, self.errors()
        found = re.search(pattern, self.errors())
        return found and found.group(1)

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.terminate()
        try:
            self.process.wait(timeout=spate_server.WAIT_SECONDS)
        finally:
            try:
                os.killpg(self.process.pid, signal.SIGKILL)  # workers that it may have left
            except ProcessLookupError:
                pass
            self.log.close()
            self.folder.cleanup()

    def stream_open(self, prompt, **fields):
        client = self.socket()
        client.sendall(spate_server.post_bytes({"prompt": prompt, "streaming": True} | fields))
        return client


def streamed_texts(answer):
    """What the article's stream says: the whole text so far, each time, raw."""
    head, _, _ = answer.partition(b"\r\n\r\n")
    assert b" 200 " in head.splitlines()[0] and b"text/event-stream" in head, answer
    return re.split(r"\n\n(?=data: |$)", spate_server.unchunked(answer).decode())[:-1]


class FastApi(spate_python.LlmCase):
    options = ("--loop", "asyncio", "--http", "h11", "--timeout-keep-alive", "30", "--limit-concurrency", "1000")

    @classmethod
    def setUpClass(cls):
        if not CLIENTS:
            raise unittest.SkipTest("SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
        super().setUpClass()
        cls.server = Uvicorn(cls.engine, *cls.options)

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        super().tearDownClass()

    def test_whole(self):
        for prompt in PROMPTS:
            output = self.llm.generate(prompt, SamplingParams(max_tokens=12, temperature=0))
            answer = self.server.generate(prompt=prompt, max_tokens=12, temperature=0)
            self.assertEqual(answer, {"text": output.outputs[0].text, "usage": {
                "prompt_tokens": len(output.prompt_token_ids), "completion_tokens": 12}})

    def test_streams(self):
        """Of many clients at once: each the texts that its prompt has alone."""
        params, answers = SamplingParams(max_tokens=40, temperature=0), {}
        alone = {output.prompt: output.outputs[0].text for output in self.llm.generate(PROMPTS, params)}
        jobs = [(prompt, i) for i in range(4) for prompt in PROMPTS]

        def ask(job):
            with self.server.stream_open(job[0], max_tokens=40, temperature=0) as client:
                answers[job] = spate_server.receive_all(client)

        threads = [threading.Thread(target=ask, args=(job,)) for job in jobs]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(spate_server.WAIT_SECONDS)
        for job in jobs:
            texts = [event.removeprefix("data: ") for event in streamed_texts(answers[job])]
            self.assertEqual(texts[-1], alone[job[0]])
            for text, longer in zip(texts, texts[1:]):
                self.assertTrue(longer.startswith(text))

    def test_streams_interleave(self):
        """No stream has ended when all have begun; the server answers others meanwhile, and ends the requests of clients that leave."""
        cancelled = 'llm_requests_finished_total{reason="cancelled"}'
        before = self.server.metric(cancelled)
        clients = [self.server.stream_open(prompt, max_tokens=60000, temperature=0) for prompt in PROMPTS]
        waiting, seen = set(clients), {client: b"" for client in clients}
        while waiting:
            ready, _, _ = select.select(list(clients), [], [], spate_server.WAIT_SECONDS)
            self.assertTrue(ready)
            for client in ready:
                seen[client] += client.recv(1 << 16)
                if seen[client].count(b"data: ") >= 3:
                    waiting.discard(client)
        self.assertEqual(json.loads(self.server.get("/health")[2]), {"status": "healthy", "model": "tiny"})
        self.assertEqual(self.server.generate(prompt="a", max_tokens=3)["usage"]["completion_tokens"], 3)
        for client in clients:
            self.assertNotIn(b"\r\n0\r\n\r\n", seen[client])
            client.close()
        spate_server.wait_for(lambda: self.server.metric(cancelled) == before + len(clients), "all are ended")
        self.assertEqual(self.server.metric("llm_requests_running"), 0)

    def test_mistakes(self):
        for fields, sentence in (({"max_tokens": 1 << 30}, "max_tokens is 1073741824, expected 1 to max_seq_len 65536."),
                                 ({"lora_request": {"lora_name": "x"}},
                                  "An adapter was asked for and there are none: the engine was opened without a folder of "
                                  "them (--lora-dir).")):
            for streaming in (False, True):
                status, _, body = self.server.post({"prompt": "a", "streaming": streaming} | fields)
                self.assertEqual((status, json.loads(body)), (500, {"error": sentence}))
        status, _, body = self.server.post({"prompt": "a", "timeout_s": 0.05, "max_tokens": 60000})
        self.assertEqual(status, 500)
        self.assertIn("timeout_s", json.loads(body)["error"])


class FastApiUvloop(FastApi):
    options = ("--loop", "uvloop")


class Workers(spate_python.LlmCase):
    """As the article's script starts it: processes that share the port, each with its own engine."""

    def test_two(self):
        if not CLIENTS:
            self.skipTest("SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
        output = self.llm.generate("Once", SamplingParams(max_tokens=12, temperature=0))
        with Uvicorn(self.engine, "--workers", "2", "--log-level", "info", "--timeout-keep-alive", "60") as server:
            for _ in range(8):
                self.assertEqual(server.generate(prompt="Once", max_tokens=12, temperature=0)["text"], output.outputs[0].text)


if __name__ == "__main__":
    spate_python.main(__name__)
