"""Every path, every method, headers, and what the HTTP metrics count."""
import json

import spate_server
from spate_server import JSON, Engine

LIMIT_BODY_BYTES = 1 << 20


class Routes(spate_server.ServerCase):
    def error_of(self, answer):
        status, headers, body = answer
        self.assertEqual(headers["Content-Type"], "application/json")
        fields = json.loads(body)
        self.assertEqual(list(fields), ["error"])
        return status, fields["error"]

    def test_health(self):
        status, headers, body = self.server.get("/health")
        self.assertEqual((status, headers["Content-Type"]), (200, "application/json"))
        self.assertEqual(json.loads(body), {"status": "healthy", "generation": 1, "model": "tiny"})

    def test_small_pages(self):
        for path, wanted in (("/live", {"status": "live"}), ("/ready", {"status": "ready"})):
            status, _, body = self.server.get(path)
            self.assertEqual((status, json.loads(body)), (200, wanted))
        self.assertRegex(json.loads(self.server.get("/version")[2])["version"], r"^\d+\.\d+\.\d+$")

    def test_models(self):
        status, _, body = self.server.get("/v1/models")
        models = json.loads(body)
        self.assertEqual((status, models["object"], len(models["data"])), (200, "list", 1))
        model = models["data"][0]
        self.assertEqual((model["id"], model["object"], model["max_model_len"]), ("tiny", "model", Engine.MAX_SEQ_LEN))
        self.assertIsInstance(model["created"], int)

    def test_openapi(self):
        status, _, body = self.server.get("/openapi.json")
        api = json.loads(body)
        self.assertEqual((status, api["openapi"]), (200, "3.1.0"))
        for path, operations in api["paths"].items():
            for method in operations:
                path = path.replace("{model}", "tiny")
                self.assertNotIn(self.server.request(method.upper(), path)[0], (404, 405), (method, path))
        fields = set(api["components"]["schemas"]["GenerateRequest"]["properties"])
        self.assertEqual(fields, {p["name"] for p in api["paths"]["/generate"]["get"]["parameters"]})
        self.assertLessEqual({"prompt", "streaming", "max_tokens", "temperature", "top_k", "top_p", "seed", "stop"},
                             fields)

    def test_unknown_path(self):
        answer = self.server.get("/nowhere")
        self.assertEqual(self.error_of(answer), (404, "There is no path /nowhere: /openapi.json lists those that exist."))

    def test_methods(self):
        for path, allowed in (("/generate", "OPTIONS, GET, POST"), ("/health", "OPTIONS, GET, HEAD")):
            for method in "DELETE", "PUT", "TRACE", "M-SEARCH", "QUERY":
                answer = self.server.request(method, path)
                self.assertEqual(self.error_of(answer), (405, f"{path} does not take {method}: see the Allow header."))
                self.assertEqual(answer[1]["Allow"], allowed)
            status, headers, body = self.server.request("OPTIONS", path)
            self.assertEqual((status, headers["Allow"], body), (204, allowed, b""))

    def test_unknown_methods(self):
        """RFC 9110: 501 for what no resource of the server could take, whatever the path."""
        for path in "/generate", "/health", "/nowhere":
            for method in "BREW", "get", "X!":
                answer = self.server.request(method, path)
                self.assertEqual(self.error_of(answer), (501, f"HTTP has no method {method} that this server knows: "
                                                              "/openapi.json lists those that its paths take."))

    def test_head(self):
        status, headers, body = self.server.request("HEAD", "/health")
        self.assertEqual((status, body), (200, b""))
        self.assertEqual(int(headers["Content-Length"]), len(self.server.get("/health")[2]))
        self.assertEqual(self.server.request("HEAD", "/generate?prompt=a")[0], 405)

    def test_content_type(self):
        sentence = "The body must be JSON: send the header Content-Type: application/json."
        for refused in ("text/plain", "application/x-www-form-urlencoded", "application/jsonp"):
            answer = self.server.request("POST", "/generate", '{"prompt": "a"}', {"Content-Type": refused})
            self.assertEqual(self.error_of(answer), (415, sentence))
        for taken in ("application/json; charset=utf-8", "Application/JSON"):
            answer = self.server.request("POST", "/generate", '{"prompt": "a"}', {"Content-Type": taken})
            self.assertEqual(answer[0], 200, answer[2])

    def test_body_too_large(self):
        sentence = "The body is larger than the 1048576 bytes that this path takes."
        body = json.dumps({"prompt": "a" * LIMIT_BODY_BYTES})
        self.assertEqual(self.error_of(self.server.post(body)), (413, sentence))
        answer = self.server.raw(b"POST /generate HTTP/1.1\r\nHost: t\r\nTransfer-Encoding: chunked\r\n\r\n"
                                 + b"10000\r\n" + b" " * 0x10000 + b"\r\n10000\r\n" + b" " * 0x10000
                                 + b"\r\n" + b"100001\r\n")
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer[:100])
        self.assertEqual(self.server.request("GET", "/health", "body")[0], 413)

    def test_head_too_large(self):
        """Parts over their limits; a whole head over its own is a 400 that closes (test_refused)."""
        long_line, long_url = {"X-Long": "x" * (8 << 10)}, "/" + "u" * (8 << 10)
        self.assertEqual(self.error_of(self.server.get("/health", long_line)),
                         (431, "A header line is longer than 8192 bytes."))
        self.assertEqual(self.error_of(self.server.get("/health", {f"X-{i}": "1" for i in range(100)})),
                         (431, "The head has more than 100 header lines."))
        self.assertEqual(self.error_of(self.server.get(long_url)), (414, "The URL is longer than 8192 bytes."))

    def test_request_id(self):
        for path in ("/health", "/nowhere"):
            self.assertEqual(self.server.get(path, {"X-Request-ID": "ab-1.2"})[1]["X-Request-ID"], "ab-1.2")
        self.assertEqual(self.server.post({"prompt": "a"}, {"X-Request-ID": "p"})[1]["X-Request-ID"], "p")
        stream = self.server.post({"prompt": "a", "streaming": True}, {"X-Request-ID": "s"})
        self.assertEqual(stream[1]["X-Request-ID"], "s")
        made = [self.server.get("/health", {"X-Request-ID": unsound} if unsound else {})[1]["X-Request-ID"]
                for unsound in ("with space", "x" * 129, "a:b", "\u00e9".encode(), None, None)]
        made.append(self.server.raw(b"no head\r\n\r\n").decode().partition("X-Request-ID: ")[2].partition("\r\n")[0])
        self.assertEqual(len(set(made)), len(made))
        for identity in made:
            self.assertRegex(identity, r"^req-[0-9a-f]{24}$")

    def test_keep_alive(self):
        connection = self.server.connect()
        for _ in range(3):
            connection.request("POST", "/generate", '{"prompt": "a", "max_tokens": 3}', JSON)
            response = connection.getresponse()
            self.assertEqual((response.status, response.headers["Connection"]), (200, "keep-alive"))
            response.read()
            local = connection.sock.getsockname()
        connection.request("GET", "/health")
        connection.getresponse().read()
        self.assertEqual(connection.sock.getsockname(), local)
        connection.close()

    def test_metrics(self):
        counted = 'http_requests_total{method="POST",handler="/generate",status="400"}'
        before = self.server.metric(counted)
        self.server.post("{}")
        self.assertEqual(self.server.metric(counted), before + 1)
        status, headers, body = self.server.get("/metrics")
        self.assertEqual((status, headers["Content-Type"]), (200, "text/plain; version=0.0.4; charset=utf-8"))
        text = body.decode()
        for name in ("llm_requests_total", "llm_generation_seconds", "http_requests_total",
                     "http_request_duration_seconds", "http_request_size_bytes", "http_response_size_bytes"):
            self.assertEqual(text.count(f"# TYPE {name} "), 1, name)
        samples = [line for line in text.splitlines() if not line.startswith("#")]
        self.assertEqual(len(samples), len({line.rsplit(" ", 1)[0] for line in samples}), "a sample appears twice")


if __name__ == "__main__":
    spate_server.main(__name__)
