"""Each field of each path that takes a body, with values that no sane client sends: every one is answered, with 4xx or,
where the value is legal, with 200; and a stream beside them has the bytes that it has alone."""
import json
import threading

import spate_server
from spate_server import JSON, Engine, Server, sse_objects

BASE = {
    "/generate": {"prompt": "a", "max_tokens": 2},
    "/v1/completions": {"prompt": "a", "max_tokens": 2},
    "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}], "max_tokens": 2},
    "/tokenize": {"prompt": "a"},
    "/detokenize": {"tokens": [65]},
}
DEEP = 100000
# As JSON texts: most of these cannot be said otherwise.
VALUES = [
    "-1", "0", "1.5", "2147483648", "-2147483649", "9223372036854775808", "1e19", "18446744073709551616", "1e309", "-1e309", "NaN",
    "Infinity", "5e-324", "-0.0", "1" * 400, "null", "true", "[]", "{}", '""', '"x"', '"\\u0000"', '"a\\u0000b"', '"\\ud800"',
    '"\\udfff\\ud800"', '"\ufffe\U0010ffff"', "[null]", "[[]]", "[-1]", "[2147483648]", "[1e309]", '["\\u0000"]', '[""]', '{"": 0}',
    '{"-1": 1}', '{"2147483648": 1}', '{"type": "\\u0000"}', '{"role": 1}', '[{"role": null}]', '[{"role": "user", "content": [{}]}]',
    "[" * DEEP + "]" * DEEP, '{"a":' * DEEP + "1" + "}" * DEEP, "[" * DEEP,
]
# Just below what a body may have: for the fields of /generate, which the others share, and what each asks for.
LARGE = ["[" + "0," * 200000 + "0]", '[' + '"x",' * 100000 + '"x"]', '"' + "x" * 900000 + '"', '"' + "\\u0000" * 150000 + '"']
TOO_LARGE = '"' + "x" * (10 << 20) + '"'
ANY_FIELD = "surely_unknown"


class FieldFuzz(spate_server.EngineCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.short = Engine("--max-seq-len", "1024")  # so that a field that is legal makes no answer without end
        cls.server = Server(cls.short, backend="cpu")
        description = json.loads(cls.server.get("/openapi.json")[2])
        cls.fields = {path: cls.fields_of(description, path) + [ANY_FIELD] for path in BASE}

    @classmethod
    def tearDownClass(cls):
        cls.server.__exit__()
        cls.short.remove()
        super().tearDownClass()

    @classmethod
    def fields_of(cls, description, path):
        schema = description["paths"][path]["post"]["requestBody"]["content"]["application/json"]["schema"]
        name = schema.get("$ref", "").rpartition("/")[2]
        return list((description["components"]["schemas"][name] if name else schema)["properties"])

    def ask(self, connection, path, body):
        connection.request("POST", path, body, JSON)
        response = connection.getresponse()
        return response.status, response.read()

    def check(self, path, field, value, status, body):
        what = f"{path} with {field} {value[:60]}: {status} {body[:200]}"
        self.assertTrue(status == 200 or 400 <= status < 500, what)
        if status == 200 and not body.startswith(b"data: "):
            json.loads(body)
        elif status != 200:
            error = json.loads(body)["error"]
            self.assertTrue(error["message"] if path.startswith("/v1/") else error, what)

    def test_each_field(self):
        over, streams, problems = threading.Event(), [0], []
        wanted = {"prompt": "Once upon", "max_tokens": 200, "seed": 3, "streaming": True}
        alone = self.server.post(wanted)[2]

        def stream_on():
            while not over.is_set():
                body = self.server.post(wanted)[2]
                streams[0] += 1
                if text(body) != text(alone):
                    problems.append(body)

        def text(body):
            return "".join(o["text"] for o in sse_objects(body))

        neighbour = threading.Thread(target=stream_on)
        neighbour.start()
        try:
            connection = self.server.connect()
            for path, base in BASE.items():
                for field in self.fields[path]:
                    for value in VALUES + (LARGE if path == "/generate" or field in base else []):
                        texts = {name: json.dumps(v) for name, v in base.items()} | {field: value}
                        body = "{" + ", ".join(f'"{name}": {text}' for name, text in texts.items()) + "}"
                        self.check(path, field, value, *self.ask(connection, path, body.encode()))
            connection.close()
        finally:
            over.set()
            neighbour.join()
        self.assertEqual(problems, [])
        self.assertGreater(streams[0], 0)
        self.assertEqual(self.server.get("/health")[0], 200)

    def test_ten_megabytes(self):
        """Refused by the length that is told, or as soon as more has come."""
        for path, base in BASE.items():
            body = f'{{"{next(iter(base))}": {TOO_LARGE}}}'.encode()
            for headers in JSON | {"Content-Length": str(len(body))}, JSON | {"Transfer-Encoding": "chunked"}:
                connection = self.server.connect()
                try:
                    chunks = iter([body]) if "Transfer-Encoding" in headers else body
                    connection.request("POST", path, chunks, headers, encode_chunked=True)
                except (BrokenPipeError, ConnectionResetError):
                    pass  # the answer has come before all was sent
                response = connection.getresponse()
                self.assertEqual(response.status, 413, response.read())
                connection.close()


if __name__ == "__main__":
    spate_server.main(__name__)
