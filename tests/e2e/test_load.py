"""100 users at once through public clients: locust alone, and locust with the package openai. Ten seconds on a tiny model;
three minutes on the model that SPATE_TEST_MODEL names with SPATE_LONG=1. No request fails, and everything comes back."""
import json
import os
import subprocess
import sys
import types

import spate_server
from spate_server import ROOT, Engine, Server, wait_for

MODEL = os.environ.get("SPATE_TEST_MODEL") if os.environ.get("SPATE_LONG") == "1" else None
SECONDS, SPAWNED_PER_SECOND = (180, 10) if MODEL else (10, 25)
USERS = 100


class Load(spate_server.ClientCase):
    def run_users(self, name):
        engine = types.SimpleNamespace(path=MODEL) if MODEL else self.engine
        with Server(engine, "--threads", str(os.cpu_count()), backend="cpu") as server:
            answer = self.client("locust", "-f", ROOT / "tests/load" / name, "--headless", "-u", USERS, "-r", SPAWNED_PER_SECOND,
                                 "-t", SECONDS, "--stop-timeout", 120, "--host", f"http://127.0.0.1:{server.port}",
                                 "--json", "--only-summary")
            [stats] = json.loads(answer.stdout)
            print(f"{name}: {stats['num_requests']} requests, {stats['num_failures']} failures", file=sys.stderr)
            self.assertEqual((answer.returncode, stats["num_failures"]), (0, 0), answer.stderr)
            self.assertGreater(stats["num_requests"], 0, answer.stderr)
            for gauge in "llm_requests_running", "llm_requests_waiting", "llm_kv_cache_usage_ratio":
                wait_for(lambda: server.metric(gauge) == 0, f"{gauge} returns to 0")
            page = server.get("/metrics")[2].decode()
            refused = [line for line in page.splitlines() if line.startswith(("llm_requests_refused_total", "http_requests_refused_total"))]
            self.assertEqual({line.split()[-1] for line in refused}, {"0"}, refused)

    def test_generate(self):
        self.run_users("generate_users.py")

    def test_chat_streams(self):
        self.run_users("chat_users.py")


if __name__ == "__main__":
    spate_server.main(__name__)
