"""A server with keys and values in each type of eight bits: what it says of itself, and that its answers do not depend on
how they came about. How far they are from exact ones is for tests/op and tests/parity/test_kl."""
import json

import spate_server
from spate_server import JSON, Engine

PROMPT = "Once upon a time, in a land of steps and of stairs, there was"
GREEDY = {"prompt": PROMPT, "max_tokens": 40, "temperature": 0, "ignore_eos": True}
SEARCH = {"prompt": PROMPT, "max_tokens": 20, "n": 3, "use_beam_search": True, "ignore_eos": True}
TYPES = ("int8", "fp8")


class KvTypes(spate_server.EngineCase):
    def texts(self, server, fields):
        status, _, body = server.request("POST", "/v1/completions", json.dumps(fields), JSON)
        self.assertEqual(status, 200, body)
        return [choice["text"] for choice in json.loads(body)["choices"]]

    def answers(self, server):
        """Alone, again from the blocks that are kept, four of a prompt, beams that share and part."""
        first = self.texts(server, GREEDY)
        self.assertEqual(self.texts(server, GREEDY), first)
        drawn = self.texts(server, GREEDY | {"n": 4, "temperature": 1, "seed": 5})
        return first, drawn, self.texts(server, SEARCH)

    def test_answers(self):
        contiguous = Engine("--kv-cache-type", "CONTIGUOUS", "--max-seq-len", "256")
        self.addCleanup(contiguous.remove)
        for kind in TYPES:
            expected = None
            for engine, options in ((self.engine, ()), (self.engine, ("--threads", "2", "--block-size", "64")),
                                    (self.engine, ("--no-enable-block-reuse", "--block-size", "256")), (contiguous, ())):
                with self.subTest(kind=kind, options=options), \
                     spate_server.Server(engine, "--kv-cache-dtype", kind, *options, backend="cpu") as server:
                    answers = self.answers(server)
                    expected = expected or answers
                    self.assertEqual(answers, expected)
                    self.assertEqual(len(set(answers[1])), 4)

    def test_it_says_which(self):
        for kind in TYPES:
            with spate_server.Server(self.engine, "--kv-cache-dtype", kind, backend="cpu") as server:
                self.assertIn(f'cache_dtype="{kind}"', server.get("/metrics")[2].decode())
                self.assertRegex(server.errors(), rf"\d+ MiB of KV cache in {kind}\.")


if __name__ == "__main__":
    spate_server.main(__name__)
