"""Spans as a collector gets them: a real HTTP server takes them, and OpenTelemetry's own schema (opentelemetry-proto, in
the clients of SPATE_TEST_CLIENTS) reads them."""
import base64
import http.server
import json
import os
import shutil
import subprocess
import threading
import time
import unittest

import spate_server
from spate_server import JSON, Engine, Server, post_bytes, wait_for

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
FOR_EVER = {"prompt": "Once", "max_tokens": Engine.MAX_SEQ_LEN - 64}
READER = """
import sys
from google.protobuf import json_format
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
print(json_format.MessageToJson(json_format.Parse(sys.stdin.read(), ExportTraceServiceRequest()), indent=None))
"""


class Collector:
    """Keeps what is posted to it; answers with the status it was told."""

    def __init__(self, status=200):
        outer, self.messages, self.status = self, [], status
        self.block = threading.Event()
        self.block.set()

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                outer.messages.append((self.path, self.headers["Content-Type"], json.loads(body)))
                outer.block.wait()
                self.send_response(outer.status)
                self.end_headers()

            def log_message(self, *_):
                pass
        self.http = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}/v1/traces"

    def close(self):
        self.block.set()
        self.http.shutdown()
        self.thread.join()
        self.http.server_close()

    def spans(self):
        return [span for _, _, message in self.messages for resource in message["resourceSpans"]
                for scope in resource["scopeSpans"] for span in scope["spans"]]


def attributes(span):
    return {a["key"]: next(iter(a["value"].values())) for a in span["attributes"]}


class Traces(spate_server.EngineCase):
    def serve(self, collector, *options, backend="null"):
        server = Server(self.engine, "--otlp-traces-endpoint", collector if isinstance(collector, str) else collector.url, *options,
                        backend=backend)
        self.addCleanup(server.__exit__)
        return server

    def collector(self, *status):
        collector = Collector(*status)
        self.addCleanup(collector.close)
        return collector

    def test_span(self):
        """A request of a caller's trace: ids, times, counts."""
        collector = self.collector()
        server = self.serve(collector)
        before = time.time_ns()
        server.post({"prompt": "Once", "max_tokens": 5}, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
        after = time.time_ns()
        wait_for(collector.spans, "its span")
        path, content_type, message = collector.messages[0]
        self.assertEqual((path, content_type), ("/v1/traces", "application/json"))
        resource = message["resourceSpans"][0]["resource"]["attributes"]
        self.assertEqual(resource, [{"key": "service.name", "value": {"stringValue": "spate"}}])
        span, = collector.spans()
        self.assertEqual((span["traceId"], span["parentSpanId"], span["name"], span["kind"]), (TRACE, PARENT, "POST /generate", 2))
        begin, end, first = int(span["startTimeUnixNano"]), int(span["endTimeUnixNano"]), int(span["events"][0]["timeUnixNano"])
        self.assertTrue(before - 10**9 < begin <= first <= end < after + 10**9, (before, begin, first, end, after))
        found = attributes(span)
        self.assertTrue(0 <= found.pop("gen_ai.response.time_to_first_chunk") < 60)
        self.assertEqual(found, {
            "gen_ai.operation.name": "text_completion", "gen_ai.request.model": "tiny", "http.request.method": "POST",
            "http.route": "/generate", "http.response.status_code": "200", "gen_ai.usage.input_tokens": "4",
            "gen_ai.usage.cache_read.input_tokens": "0", "gen_ai.usage.output_tokens": "5",
            "gen_ai.response.finish_reasons": {"values": [{"stringValue": "length"}]}})
        self.assertEqual(span["status"], {"code": 0})
        wait_for(lambda: server.metric("llm_trace_spans_sent_total") == 1, "it is counted")
        self.assertIn(f'trace_id="{TRACE}"', server.errors())

    def test_which(self):
        """A trace the caller does not keep has no span; a request without a trace begins one; other paths have none."""
        collector = self.collector()
        server = self.serve(collector)
        server.post({"prompt": "a", "max_tokens": 1}, {"traceparent": f"00-{TRACE}-{PARENT}-00"})
        server.get("/health")
        for _ in range(2):
            server.post({"prompt": "a", "max_tokens": 1})
        server.post({"prompt": "a", "max_tokens": 1}, {"traceparent": "nonsense"})
        server.post({"prompt": 5})  # 400 before the engine
        wait_for(lambda: len(collector.spans()) == 4, "four spans")
        spans = collector.spans()
        self.assertEqual(len({span["traceId"] for span in spans}), 4)
        self.assertNotIn(TRACE, {span["traceId"] for span in spans})
        self.assertFalse([span for span in spans if "parentSpanId" in span])
        self.assertEqual(sorted(attributes(span)["http.response.status_code"] for span in spans), ["200", "200", "200", "400"])
        refused = next(span for span in spans if attributes(span)["http.response.status_code"] == "400")
        self.assertNotIn("gen_ai.usage.input_tokens", attributes(refused))

    def test_cancelled(self):
        """A client that leaves."""
        collector = self.collector()
        server = self.serve(collector, backend="cpu")
        with server.socket() as client:
            client.sendall(post_bytes(FOR_EVER))
            wait_for(lambda: server.metric("llm_requests_running") == 1, "it runs")
        wait_for(collector.spans, "its span")
        found = attributes(collector.spans()[0])
        self.assertEqual((found["http.response.status_code"], found["gen_ai.response.finish_reasons"]),
                         ("499", {"values": [{"stringValue": "cancelled"}]}))

    def test_collector_fails(self):
        """One that is away, one that answers with an error, one that does not answer: spans are lost and counted, requests are not."""
        away = Collector()
        away.close()
        server = self.serve(away)
        server.generate(prompt="a", max_tokens=2)
        wait_for(lambda: server.metric("llm_trace_spans_lost_total") == 1, "the span is lost")
        self.assertIn("The collector of traces did not take 1 spans: ", server.errors())
        server = self.serve(self.collector(503))
        server.generate(prompt="a", max_tokens=2)
        wait_for(lambda: server.metric("llm_trace_spans_lost_total") == 1, "the span is lost")
        self.assertIn("The collector of traces did not take 1 spans: it answered with status 503.", server.errors())
        silent = self.collector()
        silent.block.clear()
        server = self.serve(silent)
        for _ in range(5000):  # more than wait for a collector at once
            server.post({"prompt": "a", "max_tokens": 1})
        self.assertEqual(server.metric("llm_trace_spans_sent_total"), 0)
        wait_for(lambda: server.metric("llm_trace_spans_lost_total") > 2000, "what did not fit is counted")
        silent.block.set()
        wait_for(lambda: server.metric("llm_trace_spans_sent_total") > 2000, "the rest is sent")

    def test_name_unknown(self):
        """A collector whose name nobody knows yet holds up neither the start nor requests."""
        server = self.serve("http://collector.invalid:4318/v1/traces")
        server.generate(prompt="a", max_tokens=2)
        wait_for(lambda: server.metric("llm_trace_spans_lost_total") == 1, "the span is lost")
        self.assertRegex(server.errors(), r"did not take 1 spans: (collector\.invalid:4318 cannot be found: .*|it did not answer in time)\.")

    def test_stop(self):
        """What waits is sent when the server stops."""
        collector = self.collector()
        server = self.serve(collector)
        server.generate(prompt="a", max_tokens=2)
        server.stop()
        server.exit_code()
        self.assertEqual(len(collector.spans()), 1)

    def test_reload(self):
        """A span names the model of the engine that ran its request."""
        collector, model = self.collector(), self.engine.folder / "other"
        shutil.copytree(self.engine.folder / "tiny", model)
        subprocess.run([spate_server.SPATE, "build", model, "-o", self.engine.folder / "other.spate"], check=True, capture_output=True)
        server = self.serve(collector, "--admin-key", "boss", "--reload-dir", str(self.engine.folder))
        server.generate(prompt="a", max_tokens=1)
        order = json.dumps({"model": "other.spate"})
        status, _, answer = server.request("POST", "/admin/reload", order, JSON | {"Authorization": "Bearer boss"})
        self.assertEqual(status, 200, answer)
        server.generate(prompt="a", max_tokens=1)
        wait_for(lambda: len(collector.spans()) == 2, "two spans")
        self.assertEqual([attributes(span)["gen_ai.request.model"] for span in collector.spans()], ["tiny", "other"])

    def test_environment(self):
        collector = self.collector()
        os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = collector.url
        try:
            server = Server(self.engine)
        finally:
            del os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]
        self.addCleanup(server.__exit__)
        server.generate(prompt="a", max_tokens=2)
        wait_for(collector.spans, "its span")

    def test_variable_for_others(self):
        for value, warned in (("", False), ("https://collector:4318/v1/traces", True)):
            os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"] = value
            try:
                with Server(self.engine) as server:
                    server.generate(prompt="a", max_tokens=1)
                    self.assertEqual("no traces are sent" in server.errors(), warned)
            finally:
                del os.environ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"]

    def test_bad_address(self):
        for url in ("nowhere", "https://127.0.0.1/v1/traces", "http://127.0.0.1:99999999/"):
            with self.assertRaises(AssertionError) as refused:
                self.serve(url)
            self.assertIn(f'"{url}" is no address of a server, expected http://HOST:PORT.', str(refused.exception))

    @unittest.skipUnless(os.environ.get("SPATE_TEST_CLIENTS"), "SKIPPED: SPATE_TEST_CLIENTS is not set to what scripts/get_clients.sh prints")
    def test_schema(self):
        """OpenTelemetry's own schema knows every field; ids are hex there, base64 in protobuf's JSON."""
        collector = self.collector()
        server = self.serve(collector)
        server.post({"prompt": "Once", "max_tokens": 5}, {"traceparent": f"00-{TRACE}-{PARENT}-01"})
        wait_for(collector.spans, "its span")
        message = collector.messages[0][2]
        for span in collector.spans():
            for key in ("traceId", "spanId", "parentSpanId"):
                span[key] = base64.b64encode(bytes.fromhex(span[key])).decode()
        read = subprocess.run([os.environ["SPATE_TEST_CLIENTS"], "-c", READER], input=json.dumps(message), capture_output=True, text=True)
        self.assertEqual(read.returncode, 0, read.stderr)
        again = json.loads(read.stdout)["resourceSpans"][0]["scopeSpans"][0]["spans"][0]
        self.assertEqual(base64.b64decode(again["traceId"]).hex(), TRACE)
        self.assertEqual(again["kind"], "SPAN_KIND_SERVER")


if __name__ == "__main__":
    spate_server.main(__name__)
