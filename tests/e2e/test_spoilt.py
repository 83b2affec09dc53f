"""A network whose numbers are none once it has read a Q: who sends one is told so, and nobody else notices."""
import concurrent.futures
import json
import struct
import subprocess
import unittest

import spate_server
from spate_server import JSON, SPATE, Engine, Server, wait_for

GOOD = {"prompt": "Once upon a time", "max_tokens": 3000, "temperature": 0, "bad_words": ["Q"]}
BAD = {"prompt": "What a Q", "max_tokens": 8}
SENTENCE = "The logits that were computed for this request are not finite numbers"


def spoil(model, token):
    """Makes the token's embedding NaN, and a matrix of its own of the head, which was the same one."""
    content = (model / "model.safetensors").read_bytes()
    size = struct.unpack("<Q", content[:8])[0]
    header, data = json.loads(content[8:8 + size]), bytearray(content[8 + size:])
    embedding = header["model.embed_tokens.weight"]
    begin, end = embedding["data_offsets"]
    header["lm_head.weight"] = embedding | {"data_offsets": [len(data), len(data) + end - begin]}
    data += data[begin:end]
    width = (end - begin) // embedding["shape"][0]
    data[begin + token * width:begin + (token + 1) * width] = b"\xff" * width
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    (model / "model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    config = json.loads((model / "config.json").read_text())
    (model / "config.json").write_text(json.dumps(config | {"tie_word_embeddings": False}))


def damage(model):
    """Makes the norm before the head NaN, and with it each logit of whatever is asked."""
    content = bytearray((model / "model.safetensors").read_bytes())
    size = struct.unpack("<Q", content[:8])[0]
    begin, end = json.loads(content[8:8 + size])["model.norm.weight"]["data_offsets"]
    content[8 + size + begin:8 + size + end] = b"\xff" * (end - begin)
    (model / "model.safetensors").write_bytes(content)


def build(engine):
    subprocess.run([SPATE, "build", engine.folder / "tiny", "-o", engine.path, "--max-seq-len", "4096", "--quant-mode", "BF16"],
                   check=True, capture_output=True)


class Damaged(unittest.TestCase):
    def test_health(self):
        """An engine that has no finite logits for anything says so of itself, and looks again; another one takes its place."""
        engine = Engine()
        self.addCleanup(engine.remove)
        whole = engine.path.read_bytes()
        damage(engine.folder / "tiny")
        build(engine)
        probes = 'llm_engine_probes_total{result="not_finite"}'
        with Server(engine, "--admin-key", "k", backend="cpu") as server:
            for _ in range(8):
                self.assertEqual(server.get("/health")[0], 200)
                self.assertEqual(server.post({"prompt": "Once", "max_tokens": 2})[0], 500)
            wait_for(lambda: server.get("/health")[0] == 503, "it is unhealthy")
            answer = json.loads(server.get("/health")[2])
            self.assertEqual(answer["status"], "unhealthy")
            self.assertIn("The engine computes no finite numbers, neither for requests nor for tokens of its own choice", answer["error"])
            self.assertEqual(server.get("/ready")[0], 503)
            wait_for(lambda: server.metric(probes) >= 2, "it looks again, though nobody asks")
            engine.path.unlink()
            engine.path.write_bytes(whole)
            self.assertEqual(server.request("POST", "/admin/reload", None, {"Authorization": "Bearer k"})[0], 200)
            self.assertEqual(server.get("/health")[0], 200)
            self.assertEqual(server.post({"prompt": "Once", "max_tokens": 2})[0], 200)


class Spoilt(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.engine = Engine()
        with Server(cls.engine, backend="cpu") as server:
            token, = json.loads(server.request("POST", "/tokenize", json.dumps({"prompt": "Q", "add_special_tokens": False}), JSON)[2])["tokens"]
        spoil(cls.engine.folder / "tiny", token)
        build(cls.engine)

    @classmethod
    def tearDownClass(cls):
        cls.engine.remove()

    def test_neighbours(self):
        """The blocks that held its numbers are others' then."""
        for kind in "fp16", "bf16", "fp32", "fp8", "int8":
            with self.subTest(kind), Server(self.engine, "--kv-cache-dtype", kind, "--kv-cache-memory", "8M", backend="cpu") as server, \
                    concurrent.futures.ThreadPoolExecutor(8) as pool:
                alone = server.generate(**GOOD)
                stream = pool.submit(server.generate, **GOOD)
                wait_for(lambda: server.metric("llm_requests_running") == 1, "it runs")
                for status, _, body in pool.map(lambda _: server.post(BAD), range(40)):
                    self.assertEqual((status, json.loads(body)["error"][:len(SENTENCE)]), (500, SENTENCE))
                self.assertEqual(stream.result(), alone)
                self.assertEqual(server.get("/health")[0], 200)

    def test_stream(self):
        with Server(self.engine, backend="cpu") as server:
            status, _, body = server.post(BAD | {"streaming": True})
            self.assertIn(SENTENCE, body.decode())
            self.assertEqual(status, 500)

    def test_nothing_else(self):
        """Nor does it stop the server that nobody asks for anything else."""
        with Server(self.engine, backend="cpu") as server:
            for _ in range(40):
                self.assertEqual(server.post(BAD)[0], 500)
            self.assertGreater(server.metric('llm_engine_probes_total{result="finite"}'), 0, "it has not looked at itself")
            self.assertEqual(server.metric('llm_engine_probes_total{result="not_finite"}'), 0)
            self.assertEqual(server.generate(prompt="Once", max_tokens=3)["usage"]["completion_tokens"], 3)
            self.assertEqual(server.get("/health")[0], 200)


if __name__ == "__main__":
    spate_server.main(__name__)
