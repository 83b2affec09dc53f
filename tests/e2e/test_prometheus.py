"""/metrics as Prometheus' own promtool and Python client read it, after traffic whose every count is known.

Needs the folder that scripts/get_prometheus.sh prints, as SPATE_TEST_PROMETHEUS."""
import concurrent.futures
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

import spate_server
from spate_server import JSON, SPATE, Engine, Server, post_bytes, receive_all, wait_for

FOLDER = os.environ.get("SPATE_TEST_PROMETHEUS", "")
FOR_EVER = {"prompt": "Once", "max_tokens": Engine.MAX_SEQ_LEN - 64}
COLON = " metric names should not contain ':'"


class Scrape:
    """One exposition in the client's eyes."""

    def __init__(self, server):
        from prometheus_client.parser import text_string_to_metric_families
        self.text = server.get("/metrics")[2].decode()
        self.families = list(text_string_to_metric_families(self.text))
        self.samples = {(s.name, frozenset(s.labels.items())): s.value for f in self.families for s in f.samples}
        assert len(self.samples) == sum(len(f.samples) for f in self.families), "a sample appears twice"

    def value(self, name, **labels):
        return self.samples.get((name, frozenset(labels.items())), 0)

    def histograms(self):
        """(name, labels, [(bound, count)], sum, count) of each."""
        for family in self.families:
            if family.type != "histogram":
                continue
            for sample in family.samples:
                if sample.name != family.name + "_count":
                    continue
                labels = sample.labels
                buckets = [(float(s.labels["le"]), s.value) for s in family.samples
                           if s.name == family.name + "_bucket" and {k: v for k, v in s.labels.items() if k != "le"} == labels]
                total = next(s.value for s in family.samples if s.name == family.name + "_sum" and s.labels == labels)
                yield family.name, labels, buckets, total, sample.value


class Prometheus(spate_server.EngineCase):
    def serve(self, *options, backend="null", engine=None):
        server = Server(engine or self.engine, *options, backend=backend)
        self.addCleanup(server.__exit__)
        return server

    def build(self, *options):
        engine = Engine(*options)
        self.addCleanup(engine.remove)
        return engine

    def lint(self, text):
        done = subprocess.run([pathlib.Path(FOLDER) / "promtool", "check", "metrics"], input=text, capture_output=True, text=True)
        return done.returncode, sorted((done.stdout + done.stderr).splitlines())

    def check(self, server):
        """promtool finds nothing but the colons of vLLM's names; every histogram is one."""
        scrape = Scrape(server)
        _, remarks = self.lint(scrape.text)
        aliases = sorted({line.split()[2] for line in scrape.text.splitlines() if line.startswith("# TYPE vllm:")})
        self.assertEqual(remarks, [alias + COLON for alias in aliases])
        own = [line for line in scrape.text.splitlines(keepends=True) if not line.removeprefix("# HELP ").removeprefix("# TYPE ").startswith("vllm:")]
        self.assertEqual(self.lint("".join(own)), (0, []))
        for name, _, buckets, total, count in scrape.histograms():
            bounds, counts = zip(*buckets)
            self.assertEqual(list(bounds), sorted(set(bounds)), name)
            self.assertEqual(bounds[-1], math.inf, name)
            self.assertEqual(list(counts), sorted(counts), name)
            self.assertEqual(counts[-1], count, name)
            self.assertTrue(total >= 0 if count else total == 0, name)
        return scrape

    def completions(self, server, prompt_tokens, max_tokens, **more):
        fields = {"prompt": [i % 200 + 3 for i in range(prompt_tokens)], "max_tokens": max_tokens} | more
        return server.request("POST", "/v1/completions", json.dumps(fields), JSON)

    def test_counts(self):
        """Prompts and answers of known sizes, one after another, whole and streamed."""
        server = self.serve("--no-enable-block-reuse")
        sizes = [(1, 1), (7, 2), (30, 10), (200, 3), (700, 40)]
        for i, (prompt, answer) in enumerate(sizes):
            self.assertEqual(self.completions(server, prompt, answer, stream=i % 2 == 1)[0], 200)
        wait_for(lambda: server.metric("llm_requests_running") == 0, "its seat is free")
        scrape = self.check(server)
        n, n_prompt, n_answer = len(sizes), sum(p for p, _ in sizes), sum(a for _, a in sizes)
        for name, wanted in (("llm_requests_total", n), ("llm_prompt_tokens_total", n_prompt), ("llm_generation_tokens_total", n_answer),
                             ("llm_prefix_cache_queried_tokens_total", n_prompt), ("llm_prefix_cache_hit_tokens_total", 0),
                             ("llm_generation_seconds_count", n), ("llm_time_to_first_token_seconds_count", n), ("llm_queue_seconds_count", n),
                             ("llm_prefill_seconds_count", n), ("llm_decode_seconds_count", n), ("llm_time_between_tokens_seconds_count", n_answer - n),
                             ("llm_request_prompt_tokens_sum", n_prompt), ("llm_request_generation_tokens_sum", n_answer),
                             ("llm_request_cached_tokens_sum", 0), ("llm_request_preemptions_count", n), ("llm_request_preemptions_sum", 0),
                             ("llm_step_tokens_sum", n_prompt + n_answer - n), ("llm_step_sequences_sum", scrape.value("llm_steps_total")),
                             ("llm_step_tokens_count", scrape.value("llm_steps_total")),
                             ("llm_step_kv_cache_usage_ratio_count", scrape.value("llm_steps_total")),
                             ("llm_requests_running", 0), ("llm_requests_waiting", 0), ("llm_kv_cache_usage_ratio", 0)):
            self.assertEqual(scrape.value(name), wanted, name)
        self.assertEqual(scrape.value("llm_requests_finished_total", reason="length"), n)
        for name, sample in (("prompt", 0), ("generation", 1)):
            for bound in (1, 10, 100, 500):
                self.assertEqual(scrape.value(f"llm_request_{name}_tokens_bucket", le=str(bound)),
                                 sum(size[sample] <= bound for size in sizes), (name, bound))
        parts = [scrape.value(f"llm_{part}_seconds_sum") for part in ("queue", "prefill", "time_to_first_token", "decode", "time_between_tokens")]
        self.assertAlmostEqual(parts[0] + parts[1], parts[2])
        self.assertAlmostEqual(parts[3], parts[4])

    def test_answers(self):
        """n answers and a beam search are one request each."""
        server = self.serve("--no-enable-block-reuse")
        self.assertEqual(self.completions(server, 20, 5, n=3)[0], 200)
        scrape = self.check(server)
        for name, wanted in (("llm_requests_total", 1), ("llm_generation_seconds_count", 1), ("llm_queue_seconds_count", 1),
                             ("llm_time_to_first_token_seconds_count", 1), ("llm_time_between_tokens_seconds_count", 12),
                             ("llm_request_prompt_tokens_sum", 20), ("llm_request_generation_tokens_sum", 15),
                             ("llm_generation_tokens_total", 15)):
            self.assertEqual(scrape.value(name), wanted, name)
        self.assertEqual(scrape.value("llm_requests_finished_total", reason="length"), 1)
        status, _, body = self.completions(server, 20, 5, n=2, use_beam_search=True)
        self.assertEqual(status, 200, body)
        wait_for(lambda: server.metric("llm_requests_running") == 0, "the seats are free")
        scrape = self.check(server)
        told = json.loads(body)["usage"]["completion_tokens"]
        for name, wanted in (("llm_requests_total", 2), ("llm_generation_seconds_count", 2), ("llm_queue_seconds_count", 2),
                             ("llm_time_to_first_token_seconds_count", 1), ("llm_request_generation_tokens_sum", 15 + told),
                             ("llm_requests_waiting", 0), ("llm_kv_cache_usage_ratio", 0)):
            self.assertEqual(scrape.value(name), wanted, name)

    def test_cache(self):
        """The same prompt three times: what is found is in the counters, the histogram and under vLLM's names."""
        server = self.serve()
        for _ in range(3):
            self.completions(server, 100, 2)
        scrape = self.check(server)
        labels = {"model_name": "tiny", "engine": "0"}
        found = scrape.value("llm_prefix_cache_hit_tokens_total")
        self.assertEqual(found, 2 * 96)  # whole blocks of 16, but for the last token
        self.assertEqual(scrape.value("llm_prompt_tokens_total"), 300 - found)
        self.assertEqual(scrape.value("llm_request_cached_tokens_sum"), found)
        self.assertEqual(scrape.value("llm_request_cached_tokens_bucket", le="0"), 1)
        self.assertEqual([scrape.value(f"vllm:{name}_total", **labels) for name in ("prefix_cache_queries", "prefix_cache_hits", "prompt_tokens")],
                         [300, found, 300])

    def test_every_end(self):
        """Errors, refusals, timeouts, clients that leave and streams: each is counted once, and nothing stays behind."""
        server = self.serve("--no-enable-block-reuse", "--max-queue", "1", backend="cpu", engine=self.build("--max-batch-size", "1"))
        server.generate(prompt="a", max_tokens=2)
        server.post({"prompt": "a", "max_tokens": 3, "streaming": True})
        server.post({"prompt": 5})                                 # 400 before the engine
        server.get("/nowhere")
        server.request("POST", "/v1/completions", json.dumps({"prompt": "a", "model": "other"}), JSON)
        self.assertEqual(server.post({"prompt": "a" * 300000})[0], 400)  # refused by the worker: too many tokens
        server.post(FOR_EVER | {"timeout_s": 0.05})
        wait_for(lambda: server.metric("llm_requests_running") == 0, "its seat is free")
        with server.socket() as runs, server.socket() as waits:
            runs.sendall(post_bytes(FOR_EVER))
            wait_for(lambda: server.metric("llm_requests_running") == 1, "it runs")
            waits.sendall(post_bytes(FOR_EVER | {"streaming": True}))
            wait_for(lambda: server.metric("llm_requests_waiting") == 1, "it waits")
            self.assertEqual(server.post(FOR_EVER)[0], 429)
        cancelled = 'llm_requests_finished_total{reason="cancelled"}'
        wait_for(lambda: server.metric(cancelled) == 2, "both are cancelled")
        wait_for(lambda: server.metric("llm_requests_running") == 0, "nothing runs")
        scrape = self.check(server)
        self.assertEqual([scrape.value("llm_requests_finished_total", reason=r) for r in ("length", "cancelled", "failed", "refused", "stop")],
                         [2, 2, 1, 1, 0])
        self.assertEqual(scrape.value("llm_requests_total"), 6)
        self.assertEqual([scrape.value("llm_requests_refused_total", reason=r) for r in ("queue", "size", "invalid", "stopped", "failed")],
                         [1, 0, 0, 0, 0])
        self.assertEqual([scrape.value("llm_generation_seconds_count"), scrape.value("llm_request_prompt_tokens_count")],
                         [6, scrape.value("llm_request_generation_tokens_count")])
        self.assertEqual([scrape.value(f"llm_{g}") for g in ("requests_running", "requests_waiting", "kv_cache_usage_ratio")], [0, 0, 0])
        statuses = {status: scrape.value("http_requests_total", method="POST", handler="/generate", status=status)
                    for status in ("200", "400", "429", "499", "504")}
        self.assertEqual(statuses, {"200": 2, "400": 2, "429": 1, "499": 2, "504": 1})
        self.assertEqual(scrape.value("http_requests_total", method="GET", handler="none", status="404"), 1)
        self.assertEqual(scrape.value("http_requests_total", method="POST", handler="/v1/completions", status="404"), 1)

    def test_queue_time(self):
        """A request that waits for another to end has waited for as long as that ran."""
        server = self.serve(backend="cpu", engine=self.build("--max-batch-size", "1"))
        with server.socket() as client, concurrent.futures.ThreadPoolExecutor(1) as pool:
            client.sendall(post_bytes(FOR_EVER))
            wait_for(lambda: server.metric("llm_requests_running") == 1, "it runs")
            waiting = pool.submit(server.generate, prompt="a", max_tokens=1)
            wait_for(lambda: server.metric("llm_requests_waiting") == 1, "it waits")
            gaps, total = "llm_time_between_tokens_seconds_count", "llm_time_between_tokens_seconds_sum"
            known = server.metric(gaps)
            wait_for(lambda: server.metric(gaps) > known, "a token after the second has come to wait")
            before = server.metric(total)
            wait_for(lambda: server.metric(total) > before + 0.2, "the first has run on")
            client.close()
            waiting.result()
        self.assertGreater(Scrape(server).value("llm_queue_seconds_sum"), 0.2)

    def test_preemptions(self):
        """More streams than the cache can hold: what is preempted is counted, and so is what is computed again."""
        engine = self.build("--max-seq-len", "128", "--max-batch-size", "8")
        server = self.serve("--kv-cache-memory", "64K", "--kv-cache-dtype", "fp16", backend="cpu", engine=engine)
        fields = {"prompt": [[i + 3] * (i + 5) for i in range(8)], "max_tokens": 90}
        self.assertEqual(server.request("POST", "/v1/completions", json.dumps(fields), JSON)[0], 200)
        scrape = self.check(server)
        self.assertGreater(scrape.value("llm_preemptions_total"), 0)
        self.assertEqual(scrape.value("llm_request_preemptions_sum"), scrape.value("llm_preemptions_total"))
        computed = scrape.value("llm_prompt_tokens_total") + scrape.value("llm_recomputed_tokens_total") + 8 * 90 - 8
        self.assertEqual(scrape.value("llm_step_tokens_sum"), computed)
        self.assertGreater(scrape.value("llm_step_sequences_sum"), scrape.value("llm_steps_total"), "no step had two sequences")

    def test_bytes(self):
        """Sizes of requests and answers, to the byte."""
        server = self.serve()
        sent = [post_bytes({"prompt": "a" * size, "max_tokens": 3, "streaming": size % 2 == 0}) for size in (1, 2, 500, 5001)]
        received = []
        for request in sent:
            with server.socket() as client:
                client.sendall(request)
                received.append(receive_all(client))
        scrape = self.check(server)
        for name, sizes in (("http_request_size_bytes", sent), ("http_response_size_bytes", received)):
            self.assertEqual(scrape.value(name + "_sum", handler="/generate"), sum(map(len, sizes)), name)
            self.assertEqual(scrape.value(name + "_bucket", handler="/generate", le="1024"), sum(len(s) <= 1024 for s in sizes), name)

    def test_model_name(self):
        """A name that would end its label."""
        name = 'a"b\\c\u00e9 {x}'
        model = self.engine.folder / name
        shutil.copytree(self.engine.folder / "tiny", model)
        self.addCleanup(shutil.rmtree, model)
        engine = type("Named", (), {"path": self.engine.folder / "named.spate"})
        subprocess.run([SPATE, "build", model, "-o", engine.path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        server = self.serve(engine=engine)
        served = json.loads(server.get("/v1/models")[2])["data"][0]["id"]
        self.assertEqual(served, name)
        server.generate(prompt="a", max_tokens=2)
        self.assertEqual(self.check(server).value("vllm:generation_tokens_total", model_name=name, engine="0"), 2)


if __name__ == "__main__":
    if not FOLDER:
        print("SKIPPED: SPATE_TEST_PROMETHEUS is not set to the folder that scripts/get_prometheus.sh prints")
        sys.exit(77)
    sys.path.insert(0, FOLDER)
    spate_server.main(__name__)
