"""What the server must refuse: malformed heads as raw bytes, malformed bodies and queries with their sentences."""
import json

import spate_server

START = b"POST /generate HTTP/1.1\r\nHost: t\r\n"
BAD_HEADS = {
    "two lengths": START + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\n{}",
    "length and chunks": START + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "length with a sign": START + b"Content-Length: +2\r\n\r\n{}",
    "length with a space inside": START + b"Content-Length: 1 2\r\n\r\n{}",
    "coding that is not chunked": START + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding in capitals and more": START + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "space before the colon": START + b"Content-Length : 2\r\n\r\n{}",
    "line that starts with a space": b"GET /health HTTP/1.1\r\n Host: t\r\n\r\n",
    "line that starts with a tab": b"GET /health HTTP/1.1\r\n\tHost: t\r\n\r\n",
    "folded line": START + b"X-A: 1\r\n  folded\r\nContent-Length: 2\r\n\r\n{}",
    "bare CR": START + b"X-A: a\rb\r\nContent-Length: 2\r\n\r\n{}",
    "bare LF": b"GET /health HTTP/1.1\nHost: t\n\n",
    "NUL": START + b"X-A: a\0b\r\nContent-Length: 2\r\n\r\n{}",
    "control byte": START + b"X-A: a\x01b\r\nContent-Length: 2\r\n\r\n{}",
    "name that is no token": START + b"X(A): 1\r\n\r\n",
    "empty name": START + b": 1\r\n\r\n",
    "no Host": b"GET /health HTTP/1.1\r\n\r\n",
    "two Hosts": b"GET /health HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "head over its limit": START + b"X-A: " + b"x" * (17 << 10) + b"\r\n\r\n",
    "head over its limit in many lines": START + 90 * (b"X: " + b"x" * 180 + b"\r\n") + b"\r\n",
    "chunk size that is no number": START + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n",
    "chunk size with a sign": START + b"Transfer-Encoding: chunked\r\n\r\n+1\r\na\r\n0\r\n\r\n",
}

STOP = "a string or a list of up to 16 strings, each of 1 to 256 bytes and without U+0000"
BAD_BODIES = {
    "": 'The body is empty: send {"prompt": "..."}.',
    "[]": 'The body is not a JSON object: send {"prompt": "..."}.',
    "{}": "prompt is missing: send it as a string.",
    '{"prompt": null}': "prompt is null, expected a string.",
    '{"prompt": ["a"]}': "prompt is a list, expected a string.",
    '{"prompt": "a", "max_tokens": 0}': "max_tokens is 0, expected a whole number from 1 to 2147483647.",
    '{"prompt": "a", "max_tokens": 1.5}': "max_tokens is 1.5, expected a whole number from 1 to 2147483647.",
    '{"prompt": "a", "max_tokens": "9"}': "max_tokens is a string, expected a whole number from 1 to 2147483647.",
    '{"prompt": "a", "temperature": -1}': "temperature is -1, expected a number from 0 to 100.",
    '{"prompt": "a", "top_p": 0}': "top_p is 0, expected a number above 0 and up to 1.",
    '{"prompt": "a", "stop": ""}': f"stop is a string, expected {STOP}.",
    '{"prompt": "a", "streaming": "yes"}': "streaming is a string, expected true or false.",
    '{"prompt": "a", "stream": true, "streaming": true}':
        'streaming is there twice: as "streaming" and as "stream"; send one.',
    '{"prompt": "a", "maxtokens": 5}': 'There is no field "maxtokens"; did you mean "max_tokens"?',
    '{"prompt": "a", "frequency": 5}': 'There is no field "frequency": /openapi.json lists those that exist.',
    '{"prompt": "a", "tensor_parallel_size": 2}':
        "tensor_parallel_size is 2, expected 1: more does not exist yet.",
    '{"prompt": "a", "lora_request": {"lora_name": "x"}}':
        "An adapter was asked for and there are none: the engine was opened without a folder of them (--lora-dir).",
    '{"prompt": "a", "image_data": "x"}': "The model tiny sees no images: send text alone.",
}

BAD_QUERIES = {
    "": "prompt is missing: send it as a string.",
    "prompt=a&prompt=b": "The query has prompt twice; send it once.",
    "prompt=a&max_tokens=x": "max_tokens is a string, expected a whole number from 1 to 2147483647.",
    "prompt=%zz": "The query has a bad percent-encoding.",
    "prompt=%ff": "prompt is not valid UTF-8 in the query.",
    "prompt=a&tempature=1": 'There is no field "tempature"; did you mean "temperature"?',
}


WRONG_TYPES = {"integer": ("x", 1.5, True, [], {}), "number": ("x", True, [], {}), "boolean": (1, "true", [], {}),
               "string": (1, True, [], {}), "array": (1, True, "x", {}), "object": (1, True, "x", [])}
STARTS = {"/generate": {"prompt": "a"}, "/v1/completions": {"prompt": "a"},
          "/v1/chat/completions": {"messages": [{"role": "user", "content": "a"}]}}


def wrong_values(schema):
    """Values that a field's schema does not allow: of other types, and just outside of its ranges."""
    types = {one.get("type") for one in schema.get("oneOf", [schema])}
    wrong = [value for kind in types & set(WRONG_TYPES) for value in WRONG_TYPES[kind]]
    if "array" in types and "string" in types:  # a list or one text
        wrong = [1, True, {}, "" if "minLength" in str(schema) else None]
    if {"array", "object"} <= types:  # a list or one object
        wrong = [1, True, "x", {}]
    if "const" in schema:
        wrong += [0, 2, True]
    if "enum" in schema:
        wrong = [1, "x", [], {}]
    for bound, step in (("minimum", -1), ("maximum", 1), ("exclusiveMinimum", 0)):
        if bound in schema:
            wrong.append(schema[bound] + step)
    if "maximum" in schema:
        wrong += [2 ** 63 - 1, -2 ** 63]
    if "maxLength" in schema:
        wrong += ["", "x" * (schema["maxLength"] + 1), "a\0b"]
    return [value for value in wrong if value is not None]


class Refused(spate_server.ServerCase):
    def test_each_field(self):
        """Every field of every request refuses what its description does not allow, and is named."""
        schemas = json.loads(self.server.get("/openapi.json")[2])["components"]["schemas"]
        count = 0
        for path, name in (("/generate", "GenerateRequest"), ("/v1/completions", "CompletionRequest"),
                           ("/v1/chat/completions", "ChatCompletionRequest")):
            for field, schema in schemas[name]["properties"].items():
                values = wrong_values(schema)
                self.assertGreaterEqual(len(values), 3, (path, field, schema))
                for value in values:
                    body = json.dumps(STARTS[path] | {field: value})
                    status, _, answer = self.server.request("POST", path, body, spate_server.JSON)
                    error = json.loads(answer)["error"]
                    self.assertEqual(status, 400, (path, field, value, error))
                    sentence = error if path == "/generate" else error["message"]
                    self.assertTrue(sentence.startswith(f"{field} is "), (path, field, value, error))
                    if path != "/generate":
                        self.assertEqual((error["type"], error["param"], error["code"]), ("BadRequestError", field, 400))
                    count += 1
        self.assertGreater(count, 400)

    def test_heads(self):
        for name, head in BAD_HEADS.items():
            with self.subTest(name):
                answer = self.server.raw(head)  # returns because the server closes
                self.assertTrue(answer.startswith(b"HTTP/1.1 400 Bad Request\r\n"), answer[:100])
                self.assertEqual(answer.count(b"HTTP/1.1"), 1, "something after the head was taken for a request")
                self.assertIn(b"Connection: close\r\n", answer)
                self.assertIsInstance(json.loads(answer.split(b"\r\n\r\n")[1])["error"], str)

    def test_bodies(self):
        for body, sentence in BAD_BODIES.items():
            with self.subTest(body):
                status, _, answer = self.server.post(body)
                self.assertEqual((status, json.loads(answer)), (400, {"error": sentence}))

    def test_json(self):
        for body in ('{"prompt": "a", "prompt": "b"}', '{"prompt": "a"', '{"prompt": "a"} x', b'{"prompt": "\xff"}',
                     '{"prompt": NaN}', "[" * 1000):
            with self.subTest(body):
                status, _, answer = self.server.post(body)
                self.assertEqual(status, 400)
                self.assertRegex(json.loads(answer)["error"], "^(Not valid JSON at line|The JSON nests deeper)")

    def test_queries(self):
        for query, sentence in BAD_QUERIES.items():
            with self.subTest(query):
                status, _, answer = self.server.get("/generate?" + query)
                self.assertEqual((status, json.loads(answer)), (400, {"error": sentence}))

    def test_none_of_it_reached_the_engine(self):
        self.assertEqual(self.server.metric("llm_requests_total"), 0)
        self.assertEqual(self.server.get("/health")[0], 200)


if __name__ == "__main__":
    spate_server.main(__name__)
