"""docs/metrics.md against what a server exports, and gauges while requests run and wait."""
import json
import re

import spate_server
from spate_server import JSON, ROOT, Engine, Server, post_bytes, wait_for

FOR_EVER = {"prompt": "Once", "max_tokens": Engine.MAX_SEQ_LEN - 64}
SAMPLE = re.compile(r'^([a-zA-Z0-9_:]+)(?:\{(.*)\})? (\S+)$')
LABEL = re.compile(r'([a-z_]+)="((?:[^"\\]|\\.)*)"')


def documented():
    """name -> (type, labels, vLLM's names, meaning)"""
    rows = {}
    for line in (ROOT / "docs/metrics.md").read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if len(cells) == 6 and re.fullmatch("`[a-z_]+`", cells[0]):
            labels = set(filter(None, re.split(", *", cells[2])))
            rows[cells[0].strip("`")] = (cells[1], labels, re.findall("`([^`]+)`", cells[4]), cells[5])
    return rows


class Page:
    """What is exported: heads by name, and samples by family, each with its labels and value."""

    def __init__(self, text):
        self.help, self.type, self.samples = {}, {}, {}
        for line in text.splitlines():
            if line.startswith("# "):
                _, what, name, rest = line.split(" ", 3)
                getattr(self, what.lower())[name] = rest
                continue
            name, labels, value = SAMPLE.match(line).groups()
            family = re.sub("_(bucket|sum|count)$", "", name)
            family = family if self.type.get(family) == "histogram" else name
            labels = dict(LABEL.findall(labels or ""))
            self.samples.setdefault(family, []).append((name[len(family):], labels, float(value)))

    def labels(self, family):
        return {key for _, labels, _ in self.samples[family] for key in labels} - {"le"}

    def values(self, family):
        """Without labels of the model and of reasons: what an alias has in common with its metric."""
        return [(suffix, labels.get("le"), value) for suffix, labels, value in self.samples[family]]


class Metrics(spate_server.EngineCase):
    def serve(self, *options, backend="null", engine=None):
        server = Server(engine or self.engine, *options, backend=backend)
        self.addCleanup(server.__exit__)
        return server

    def page(self, server):
        return Page(server.get("/metrics")[2].decode())

    def test_document(self):
        server, rows = self.serve(), documented()
        server.generate(prompt="word", max_tokens=3)
        server.post("{}")
        server.request("POST", "/v1/completions", json.dumps({"prompt": "a", "unknown": 1, "max_tokens": 1}), JSON)
        page = self.page(server)
        own = {name for name in page.type if ":" not in name}
        self.assertEqual(own, set(rows))
        self.assertEqual(set(page.type) - own, {alias for row in rows.values() for alias in row[2]})
        self.assertEqual(set(page.type), set(page.samples))
        for name, (kind, labels, aliases, meaning) in rows.items():
            self.assertEqual((page.type[name], page.labels(name)), (kind, labels), name)
            self.assertTrue(meaning.startswith(page.help[name]), (meaning, page.help[name]))
            for alias in aliases:
                self.assertEqual(page.values(alias), page.values(name), alias)
                own_labels = {"finished_reason"} if "reason" in labels else labels
                self.assertEqual((page.type[alias], page.help[alias], page.labels(alias)),
                                 (kind, page.help[name], own_labels | {"model_name", "engine"}), alias)

    def test_labels(self):
        page = self.page(self.serve("--block-size", "32", "--kv-cache-dtype", "fp32", "--no-enable-block-reuse"))
        _, labels, value = page.samples["vllm:cache_config_info"][0]
        blocks = page.samples["llm_kv_cache_blocks"][0][2]
        self.assertEqual((labels, value), ({"model_name": "tiny", "engine": "0", "block_size": "32", "cache_dtype": "fp32",
                                            "enable_prefix_caching": "False", "num_gpu_blocks": str(int(blocks))}, 1))
        reasons = {labels["finished_reason"] for _, labels, _ in page.samples["vllm:request_success_total"]}
        self.assertEqual(reasons, {"stop", "length", "abort", "error", "refused"})

    def test_gauges(self):
        """One runs, two wait; they leave; with nothing kept for later, everything is as it was."""
        engine = Engine("--max-batch-size", "1")
        self.addCleanup(engine.remove)
        server = self.serve("--no-enable-block-reuse", backend="cpu", engine=engine)
        names = ("llm_requests_running", "llm_requests_waiting")
        state = lambda: tuple(server.metric(name) for name in names)
        clients = [server.socket() for _ in range(3)]
        for i, client in enumerate(clients):
            client.sendall(post_bytes(FOR_EVER))
            wait_for(lambda: state() == (1, i), f"one runs and {i} wait")
        self.assertGreater(server.metric("llm_kv_cache_usage_ratio"), 0)
        self.assertEqual(server.metric('vllm:num_requests_waiting{model_name="tiny",engine="0"}'), 2)
        wait_for(lambda: server.metric("llm_queue_seconds_count") == 1, "the first has its first token")
        for i, client in enumerate(clients):
            client.close()
            wait_for(lambda: state()[1] <= max(0, 1 - i), "the next one runs")
        wait_for(lambda: state() == (0, 0), "all have left")
        self.assertEqual(server.metric("llm_kv_cache_usage_ratio"), 0)
        self.assertEqual(server.metric('llm_requests_finished_total{reason="cancelled"}'), 3)


if __name__ == "__main__":
    spate_server.main(__name__)
