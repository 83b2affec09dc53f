"""Beam search and the log-probabilities of prompts over HTTP. What a search finds is compared with transformers in
tests/parity/test_beams.c; here its answers agree with each other and with what other routes say."""
import json
import math

import spate_server
from spate_server import JSON, sse_objects

PROMPT = "Once upon a time there was"
COMPLETION, CHAT = "/v1/completions", "/v1/chat/completions"
SEARCH = {"prompt": PROMPT, "max_tokens": 10, "use_beam_search": True, "ignore_eos": True}


class Search(spate_server.ServerCase):
    backend = "cpu"

    def ask(self, path, **fields):
        status, _, body = self.server.request("POST", path, json.dumps(fields), JSON)
        return status, json.loads(body)

    def answer(self, path, **fields):
        status, body = self.ask(path, **fields)
        self.assertEqual(status, 200, body)
        return body

    def stream(self, path, **fields):
        status, _, body = self.server.request("POST", path, json.dumps({**fields, "stream": True}), JSON)
        self.assertEqual(status, 200, body)
        return sse_objects(body.removesuffix(b"data: [DONE]\n\n"))

    def texts(self, **fields):
        return [choice["text"] for choice in self.answer(COMPLETION, **{**SEARCH, **fields})["choices"]]

    # ---- beams

    def test_beams(self):
        """The best first; fewer answers are the first of them; a stream of it says the same."""
        whole = self.answer(COMPLETION, n=4, logprobs=0, **SEARCH)
        texts = [choice["text"] for choice in whole["choices"]]
        scores = [sum(choice["logprobs"]["token_logprobs"]) for choice in whole["choices"]]
        self.assertEqual(len(set(texts)), 4)
        self.assertEqual(scores, sorted(scores, reverse=True))
        self.assertEqual(whole["usage"]["completion_tokens"], 40)
        self.assertEqual(self.texts(n=2, best_of=4), texts[:2])
        self.assertEqual(self.texts(n=1, beam_width=4), texts[:1])
        self.assertEqual(self.server.generate(best_of=4, **SEARCH)["text"], texts[0])
        merged = ["", "", "", ""]
        for piece in self.stream(COMPLETION, n=4, **SEARCH):
            merged[piece["choices"][0]["index"]] += piece["choices"][0]["text"]
        self.assertEqual(merged, texts)

    def test_one_beam_is_greedy(self):
        greedy = self.answer(COMPLETION, prompt=PROMPT, max_tokens=10, temperature=0, ignore_eos=True)
        self.assertEqual(self.texts(best_of=1, temperature=2, seed=1), [greedy["choices"][0]["text"]])

    def test_stop_strings_end_beams(self):
        best = self.texts(best_of=3)[0]
        stop = best[4:6]
        for choice in self.answer(COMPLETION, n=3, stop=stop, **SEARCH)["choices"]:
            self.assertNotIn(stop, choice["text"])
        shown = self.answer(COMPLETION, n=3, stop=stop, include_stop_str_in_output=True, **SEARCH)
        ended = [c["text"] for c in shown["choices"] if c["finish_reason"] == "stop"]
        self.assertTrue(ended)
        self.assertTrue(all(text.endswith(stop) for text in ended), ended)

    def test_rules_hold_in_beams(self):
        allowed = self.answer("/tokenize", prompt="abc", add_special_tokens=False)["tokens"]
        for text in self.texts(n=3, allowed_token_ids=allowed):
            self.assertLessEqual(set(text), set("abc"))
        self.assertEqual(self.texts(n=2, allowed_token_ids=allowed[:1])[0], "a" * 10)

    def test_beams_leave_nothing(self):
        self.texts(n=4)
        for name in ("llm_requests_running", "llm_kv_cache_usage"):
            spate_server.wait_for(lambda name=name: self.server.metric(name) == 0, f"{name} is 0")

    def test_refused(self):
        for fields, param, sentence in (
            ({"n": 2, "best_of": 3}, "best_of", "best_of is 3 and n is 2: only a beam search looks at more choices than it "
             "sends; set use_beam_search, or leave best_of out."),
            ({"use_beam_search": True, "n": 3, "best_of": 2}, None,
             "A search of 2 beams for n = 3 answers was asked for, expected n to 16."),
            ({"use_beam_search": True, "best_of": 17}, None,
             "A search of 17 beams for n = 1 answers was asked for, expected n to 16."),
            ({"use_beam_search": True, "best_of": 16, "stop_token_ids": [1, 2, 3, 4, 5]}, None,
             "The search has 16 beams and 5 tokens that end a text, expected at most 20 together: give fewer "
             "stop_token_ids."),
            ({"early_stopping": "soon"}, "early_stopping", 'early_stopping is a string, expected true, false or "never".'),
            ({"length_penalty": 11}, "length_penalty", "length_penalty is 11, expected a number from -10 to 10."),
            ({"echo": True, "logprobs": 1, "prompt_logprobs": 2}, "prompt_logprobs",
             "echo with logprobs tells those of the prompt already: leave prompt_logprobs out, or echo."),
            ({"prompt_logprobs": 21}, "prompt_logprobs", "prompt_logprobs is 21, expected a whole number from 0 to 20."),
        ):
            with self.subTest(fields=fields):
                status, body = self.ask(COMPLETION, prompt="a", **fields)
                self.assertEqual((status, body["error"]["param"], body["error"]["message"]), (400, param, sentence))

    # ---- prompts

    def test_prompt_logprobs(self):
        """A text's tokens are as likely in a prompt as when they were generated, to the last bit."""
        prompt = self.answer("/tokenize", prompt=PROMPT)["tokens"]
        made = self.answer("/generate", prompt=PROMPT, max_tokens=8, temperature=0, logprobs=True, ignore_eos=True)
        ids = prompt + [token["id"] for token in made["logprobs"]]
        rows = self.answer(COMPLETION, prompt=ids, max_tokens=1, prompt_logprobs=2)["choices"][0]["prompt_logprobs"]
        self.assertIsNone(rows[0])
        self.assertEqual(len(rows), len(ids))
        for token, row in zip(ids[1:], rows[1:]):
            self.assertIn(str(token), row)
            self.assertIn(len(row), (2, 3))
            self.assertLessEqual(sum(math.exp(top["logprob"]) for top in row.values()), 1 + 1e-6)
        for token, row in zip(made["logprobs"], rows[len(prompt):]):
            self.assertEqual(row[str(token["id"])]["logprob"], token["logprob"])
            self.assertEqual(row[str(token["id"])]["decoded_token"], token["token"])

    def test_echo_with_logprobs(self):
        ids = self.answer("/tokenize", prompt=PROMPT)["tokens"]
        rows = self.answer(COMPLETION, prompt=PROMPT, max_tokens=1, prompt_logprobs=0)["choices"][0]["prompt_logprobs"]
        asked = {"prompt": PROMPT, "max_tokens": 3, "temperature": 0, "echo": True, "logprobs": 1, "n": 2}
        whole = self.answer(COMPLETION, **asked)
        for choice in whole["choices"]:
            logprobs = choice["logprobs"]
            self.assertNotIn("prompt_logprobs", choice)
            self.assertTrue(choice["text"].startswith(PROMPT))
            self.assertEqual(len(logprobs["tokens"]), len(ids) + 3)
            self.assertEqual([logprobs["token_logprobs"][0], logprobs["top_logprobs"][0]], [None, None])
            for token, row, value in zip(ids[1:], rows[1:], logprobs["token_logprobs"][1:]):
                self.assertEqual(row[str(token)]["logprob"], value)
        self.assertEqual(self.streamed_logprobs(asked), [choice["logprobs"] for choice in whole["choices"]])

    def test_echo_without_logprobs(self):
        """Then the scores of the prompt stand by themselves, as without echo."""
        asked = {"prompt": PROMPT, "max_tokens": 2, "temperature": 0, "prompt_logprobs": 1}
        plain, echoed = (self.answer(COMPLETION, echo=echo, **asked)["choices"][0] for echo in (False, True))
        self.assertEqual(echoed, {**plain, "text": PROMPT + plain["text"]})
        self.assertEqual(len(plain["prompt_logprobs"]), len(self.answer("/tokenize", prompt=PROMPT)["tokens"]))

    def streamed_logprobs(self, fields):
        """Those of each choice, its pieces put together."""
        streamed = [{} for _ in range(fields.get("n", 1))]
        for piece in self.stream(COMPLETION, **fields):
            choice = piece["choices"][0]
            for name, values in choice["logprobs"].items():
                streamed[choice["index"]].setdefault(name, []).extend(values)
        return streamed

    def test_offsets_in_streams(self):
        """A prompt whose scores come in many pieces, and text that is held back as a stop string may come."""
        held = self.answer(COMPLETION, prompt=PROMPT, max_tokens=12, temperature=0, ignore_eos=True)["choices"][0]["text"]
        for fields in ({"prompt": PROMPT * 20, "echo": True, "max_tokens": 3},
                       {"prompt": PROMPT, "stop": held[2:6] + "\x7f", "max_tokens": 12}):
            asked = {"temperature": 0, "ignore_eos": True, "logprobs": 0, **fields}
            whole = self.answer(COMPLETION, **asked)["choices"][0]["logprobs"]
            self.assertEqual(self.streamed_logprobs(asked), [whole])

    def test_prompt_logprobs_of_every_route(self):
        one = self.answer("/generate", prompt="a", max_tokens=1, prompt_logprobs=1)
        ids = self.answer("/tokenize", prompt="a")["tokens"]
        self.assertEqual([row["id"] for row in one["prompt_logprobs"]], ids)
        self.assertIsNone(one["prompt_logprobs"][0]["logprob"])
        messages = [{"role": "user", "content": "Hello"}]
        chat = self.answer(CHAT, messages=messages, max_tokens=2, prompt_logprobs=0)
        self.assertEqual(len(chat["prompt_logprobs"]), chat["usage"]["prompt_tokens"])
        pieces = self.stream(CHAT, messages=messages, max_tokens=2, prompt_logprobs=0)
        self.assertEqual(pieces[0]["prompt_logprobs"], chat["prompt_logprobs"])
        self.assertFalse(any("prompt_logprobs" in piece for piece in pieces[1:]))


if __name__ == "__main__":
    spate_server.main(__name__)
