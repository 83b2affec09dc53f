"""What a server costs that has been up for long: no memory for each request that it has answered, and no time when there is
nothing to do. Over 1,500 requests, or 20,000 with SPATE_LONG=1."""
import json
import os
import pathlib
import statistics
import time

import spate_server
from spate_server import JSON, SANITIZED, Engine, Server, post_bytes

LONG = os.environ.get("SPATE_LONG") == "1"
WARM_UP, ROUNDS = (10, 40) if LONG else (3, 3)
GROWTH = 1 << (19 if LONG else 20)  # bytes that the allocator may still gather after the warm-up, in all rounds
IDLE_SECONDS = 2


class Upkeep(spate_server.EngineCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.short = Engine("--max-seq-len", "1024")
        cls.server = Server(cls.short, "--kv-cache-memory", "2M", backend="cpu")  # soon all of it has been used

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.short.remove()
        super().tearDownClass()

    def round(self):
        """500 requests, most on connections of 50, of each kind that keeps something for a while."""
        for start in range(0, 500, 50):
            connection = self.server.connect()
            for i in range(start, start + 50):
                fields = {"prompt": f"Request {i * 7919 % 10007} " * (1 + i % 9), "max_tokens": 1 + i % 2, "stream": i % 3 == 0}
                if i % 5 == 0:
                    fields |= {"logprobs": True, "top_logprobs": 3, "stop": ["x", "y"], "logit_bias": {"65": 1}}
                if i % 7 == 0:
                    fields = {"prompt": "a", "max_tokens": 0}
                if i % 11 == 0:
                    with self.server.socket() as leaving:
                        leaving.sendall(post_bytes(fields | {"max_tokens": 500}))
                path, body = ("/v1/completions", fields | {"logprobs": 2, "n": 2}) if i % 4 == 0 else ("/generate", fields)
                connection.request("POST", path, json.dumps(body), JSON)
                response = connection.getresponse()
                response.read()
                self.assertEqual(response.status, 400 if i % 7 == 0 else 200)
            connection.close()
        spate_server.wait_for(lambda: self.server.metric("llm_requests_running") == 0, "all have ended")

    def test_memory_does_not_grow(self):
        if SANITIZED:
            self.skipTest("SKIPPED: a sanitizer keeps memory that was freed")
        for _ in range(WARM_UP):
            self.round()
        before = self.server.resident_bytes()
        for _ in range(ROUNDS):
            self.round()
        self.assertLess(self.server.resident_bytes() - before, GROWTH)

    def cpu_seconds(self):
        times = (path.read_text() for path in pathlib.Path(f"/proc/{self.server.process.pid}/task").glob("*/schedstat"))
        return sum(int(text.split()[0]) for text in times) * 1e-9

    def test_idle_costs_nothing(self):
        """Less than a hundredth of a core with a hundred connections open: CPU time, which others' load does not change, in
        most of five windows: what was asked before may end in the first."""
        idle = [self.server.connect() for _ in range(100)]
        for connection in idle:
            self.addCleanup(connection.close)
            connection.request("GET", "/live")
            connection.getresponse().read()

        def share():
            before = self.cpu_seconds()
            time.sleep(IDLE_SECONDS)
            return (self.cpu_seconds() - before) / IDLE_SECONDS
        self.assertLess(statistics.median(share() for _ in range(5)), 0.01)


if __name__ == "__main__":
    spate_server.main(__name__)
