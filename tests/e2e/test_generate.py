"""Generation over HTTP: whole answers, both kinds of streams, the query form, sampling, limits."""
import json
import urllib.parse

import spate_server
from spate_server import Engine, sse_objects


class Generate(spate_server.ServerCase):
    backend = "cpu"

    WANTED = {"prompt": "Once upon a time", "max_tokens": 24, "seed": 7}

    def test_whole(self):
        answer = self.server.generate(**self.WANTED)
        self.assertEqual(set(answer), {"text", "usage", "finish_reason", "stop_reason"})
        self.assertEqual(answer["usage"]["completion_tokens"], 24)
        self.assertGreater(answer["usage"]["prompt_tokens"], 0)
        self.assertEqual(answer["finish_reason"], "length")
        self.assertNotEqual(answer["text"], "")

    def test_seed(self):
        first = self.server.generate(**self.WANTED)
        self.assertEqual(self.server.generate(**self.WANTED), first)
        others = {self.server.generate(**(self.WANTED | {"seed": seed}))["text"] for seed in range(3)}
        self.assertGreater(len(others), 1)

    def test_greedy(self):
        greedy = self.WANTED | {"temperature": 0}
        texts = {self.server.generate(**(greedy | {"seed": seed}))["text"] for seed in range(3)}
        self.assertEqual(len(texts), 1)
        self.assertEqual({self.server.generate(**(self.WANTED | {"top_k": 1}))["text"]}, texts)

    def test_off_is_off(self):
        plain = self.server.generate(**self.WANTED)
        for off in ({"top_k": -1}, {"top_k": 0}, {"top_p": 1}, {"stop": None}, {"stop": []}, {"max_tokens": 24.0}):
            self.assertEqual(self.server.generate(**(self.WANTED | off)), plain, off)

    def test_stop(self):
        plain = self.server.generate(**self.WANTED)["text"]
        stop = plain[len(plain) // 2:len(plain) // 2 + 2]
        for form in (stop, ["\x01never\x01", stop]):
            answer = self.server.generate(**(self.WANTED | {"stop": form}))
            self.assertEqual(answer["text"], plain[:plain.index(stop)])
            self.assertEqual((answer["finish_reason"], answer["stop_reason"]), ("stop", stop))
        self.assertIsNone(self.server.generate(**self.WANTED)["stop_reason"])

    def test_logprobs(self):
        """Of each token; the same in a stream; the greedy token is the likeliest."""
        wanted = self.WANTED | {"temperature": 0, "logprobs": True, "top_logprobs": 3}
        whole = self.server.generate(**wanted)
        self.assertEqual(len(whole["logprobs"]), 24)
        for token in whole["logprobs"]:
            top = [other["logprob"] for other in token["top_logprobs"]]
            self.assertEqual((len(top), sorted(top, reverse=True)), (3, top))
            self.assertEqual({name: token[name] for name in ("id", "token", "logprob")}, token["top_logprobs"][0])
            self.assertLess(token["logprob"], 0)
        objects = sse_objects(self.server.post(wanted | {"streaming": True})[2])
        self.assertEqual([token for o in objects for token in o["logprobs"]], whole["logprobs"])
        self.assertNotIn("top_logprobs", self.server.generate(**(wanted | {"top_logprobs": 0}))["logprobs"][0])

    def test_rules(self):
        greedy = self.WANTED | {"temperature": 0, "logprobs": True}
        ids = [token["id"] for token in self.server.generate(**greedy)["logprobs"]]
        for rule in ({"allowed_token_ids": [65, 66]}, {"logit_bias": {"65": 100}}, {"repetition_penalty": 50},
                     {"frequency_penalty": 2}, {"presence_penalty": 2}):
            ruled = [token["id"] for token in self.server.generate(**(greedy | rule))["logprobs"]]
            self.assertNotEqual(ruled, ids, rule)
            if "allowed_token_ids" in rule:
                self.assertLessEqual(set(ruled), {65, 66})
            if "logit_bias" in rule:
                self.assertEqual(set(ruled), {65})
        answer = self.server.generate(**(greedy | {"stop_token_ids": [ids[5]]}))
        self.assertEqual((answer["finish_reason"], len(answer["logprobs"])), ("stop", ids.index(ids[5]) + 1))
        self.assertEqual(answer["stop_reason"], ids[5])
        answer = self.server.generate(**(greedy | {"stop_token_ids": [ids[5]], "min_tokens": 24}))
        self.assertEqual(answer["usage"]["completion_tokens"], 24)
        self.assertNotIn(ids[5], [token["id"] for token in answer["logprobs"]])

    def check_stream(self, objects):
        whole = self.server.generate(**self.WANTED)
        self.assertEqual("".join(o["text"] for o in objects), whole["text"])
        self.assertEqual([o["finished"] for o in objects], [False] * (len(objects) - 1) + [True])
        counts = [o["generated_tokens"] for o in objects]
        self.assertEqual(counts, sorted(counts))
        self.assertTrue(all(set(o) == {"text", "finished", "generated_tokens"} for o in objects[:-1]))
        last = objects[-1]
        self.assertEqual((last["generated_tokens"], last["usage"]), (24, whole["usage"]))
        self.assertEqual(last["finish_reason"], "length")

    def test_sse(self):
        for name in ("streaming", "stream"):
            status, headers, body = self.server.post(self.WANTED | {name: True})
            self.assertEqual((status, headers["Content-Type"]), (200, "text/event-stream; charset=utf-8"))
            self.assertEqual(headers["Cache-Control"], "no-store")
            self.check_stream(sse_objects(body))

    def test_ndjson(self):
        status, headers, body = self.server.post(self.WANTED | {"streaming": True}, {"Accept": "application/x-ndjson"})
        self.assertEqual((status, headers["Content-Type"]), (200, "application/x-ndjson"))
        self.assertTrue(body.endswith(b"\n"))
        self.check_stream([json.loads(line) for line in body.splitlines()])

    def test_http_1_0(self):
        """A client of HTTP/1.0 gets the stream without chunks, ended by the connection's end."""
        head = b"POST /generate HTTP/1.0\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        body = json.dumps(self.WANTED | {"streaming": True}).encode()
        answer = self.server.raw(head % len(body) + body)
        self.check_stream(sse_objects(answer.split(b"\r\n\r\n", 1)[1]))

    def test_query(self):
        query = urllib.parse.urlencode(self.WANTED)
        whole = json.loads(self.server.get("/generate?" + query)[2])
        self.assertEqual(whole, self.server.generate(**self.WANTED))
        self.check_stream(sse_objects(self.server.get(f"/generate?{query}&streaming=true")[2]))

    def test_event_source_comes_back(self):
        status, _, body = self.server.get("/generate?prompt=a&streaming=true", {"Last-Event-ID": "0"})
        self.assertEqual((status, body), (204, b""))

    def test_characters_stay_whole(self):
        """Bytes of a random model are rarely UTF-8, yet every piece is."""
        wanted = {"prompt": "äöü 漢字 🙂", "max_tokens": 300, "seed": 1, "streaming": True}
        objects = sse_objects(self.server.post(wanted)[2])
        whole = self.server.generate(**(wanted | {"streaming": False}))
        self.assertEqual("".join(o["text"] for o in objects), whole["text"])

    def test_limits_of_the_engine(self):
        over = Engine.MAX_SEQ_LEN + 1
        long_prompt = {"prompt": "word " * Engine.MAX_SEQ_LEN, "max_tokens": 1}
        for fields, sentence in (
                ({"prompt": "a", "max_tokens": over}, f"max_tokens is {over}, expected 1 to max_seq_len {over - 1}."),
                (long_prompt, f"The prompt has more tokens than max_input_len {over - 2}: shorten it.")):
            for streaming in (False, True):
                status, _, body = self.server.post(fields | {"streaming": streaming})
                self.assertEqual((status, json.loads(body)), (400, {"error": sentence}))


if __name__ == "__main__":
    spate_server.main(__name__)
