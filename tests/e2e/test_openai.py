"""OpenAI's routes as clients use them, and the sentence and field of each mistake."""
import json

import spate_server
from spate_server import JSON, Server, sse_objects

TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}
TOOLS_WANTED = ('a list of 1 to 128 objects {"type": "function", "function": {"name": "...", ...}} whose names differ and have up to 127 letters, '
                "digits, '_', '-' and '.'")
CHAT = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}]


class OpenAI(spate_server.ServerCase):
    backend = "cpu"

    def ask(self, path, **fields):
        status, headers, body = self.server.request("POST", path, json.dumps(fields), JSON)
        return status, headers, body

    def answer(self, path, **fields):
        status, _, body = self.ask(path, **fields)
        self.assertEqual(status, 200, body)
        return json.loads(body)

    def stream(self, path, **fields):
        status, headers, body = self.ask(path, stream=True, **fields)
        self.assertEqual(status, 200, body)
        self.assertTrue(headers["Content-Type"].startswith("text/event-stream"))
        self.assertTrue(body.endswith(b"data: [DONE]\n\n"), body[-100:])
        return sse_objects(body.removesuffix(b"data: [DONE]\n\n"))

    # ---- completions

    def test_completion_is_what_generate_gives(self):
        native = self.server.generate(prompt="Once upon", max_tokens=12, seed=5)
        whole = self.answer("/v1/completions", model="tiny", prompt="Once upon", max_tokens=12, seed=5)
        self.assertEqual((whole["object"], whole["model"]), ("text_completion", "tiny"))
        self.assertEqual(whole["choices"], [{"index": 0, "text": native["text"], "logprobs": None, "finish_reason": "length",
                                             "stop_reason": None}])
        usage = whole["usage"]
        self.assertEqual(usage["total_tokens"], usage["prompt_tokens"] + 12)
        pieces = self.stream("/v1/completions", prompt="Once upon", max_tokens=12, seed=5)
        self.assertEqual("".join(p["choices"][0]["text"] for p in pieces), native["text"])
        self.assertEqual([p["choices"][0]["finish_reason"] for p in pieces][-1], "length")
        self.assertEqual(self.answer("/v1/completions", prompt="a")["usage"]["completion_tokens"], 16)

    def test_stop_reason(self):
        """The string or the token that ended each choice, whole and in the last piece of a stream."""
        for path, start in (("/v1/completions", {"prompt": ["Once", "upon a"]}),
                            ("/v1/chat/completions", {"messages": CHAT})):
            start = start | {"max_tokens": 12, "temperature": 0}
            text_of = lambda choice: choice["text"] if "text" in choice else choice["message"]["content"]
            stops = [text_of(choice)[3:5] for choice in self.answer(path, **start)["choices"]]
            choices = self.answer(path, stop=["\x01never", *stops], **start)["choices"]
            self.assertEqual([choice["finish_reason"] for choice in choices], ["stop"] * len(stops))
            for choice in choices:
                self.assertIn(choice["stop_reason"], stops)
            last = {p["choices"][0]["index"]: p["choices"][0] for p in self.stream(path, stop=stops, **start)}
            self.assertEqual([last[i]["stop_reason"] for i in range(len(stops))], [c["stop_reason"] for c in choices])
        greedy = self.server.generate(prompt="Once", max_tokens=4, temperature=0, logprobs=True)["logprobs"]
        stopped = self.answer("/v1/completions", prompt="Once", temperature=0, stop_token_ids=[greedy[0]["id"]])
        self.assertEqual(stopped["choices"][0]["stop_reason"], greedy[0]["id"])

    def test_prompts_of_every_kind(self):
        ids = [self.token_ids(text) for text in ("Once", "upon a")]
        texts = [self.server.generate(prompt=p, max_tokens=6, temperature=0)["text"] for p in ("Once", "upon a")]
        for prompt in (["Once", "upon a"], ids):
            whole = self.answer("/v1/completions", prompt=prompt, max_tokens=6, temperature=0)
            self.assertEqual([c["text"] for c in whole["choices"]], texts)
            self.assertEqual([c["index"] for c in whole["choices"]], [0, 1])
            self.assertEqual(whole["usage"]["completion_tokens"], 12)
            merged = ["", ""]
            for piece in self.stream("/v1/completions", prompt=prompt, max_tokens=6, temperature=0):
                merged[piece["choices"][0]["index"]] += piece["choices"][0]["text"]
            self.assertEqual(merged, texts)
        one = self.answer("/v1/completions", prompt=ids[0], max_tokens=6, temperature=0, echo=True)
        self.assertEqual(one["choices"][0]["text"], "Once" + texts[0])

    def test_only_echo(self):
        """max_tokens 0 tells of the prompt alone what more tokens tell of it, as evaluations ask it."""
        prompts = ["Once upon a time", "a b"]
        fields = {"prompt": prompts, "echo": True, "logprobs": 2, "temperature": 0}
        more = self.answer("/v1/completions", max_tokens=1, **fields)["choices"]
        only = self.answer("/v1/completions", max_tokens=0, **fields)
        self.assertEqual([(c["text"], c["finish_reason"], c["stop_reason"]) for c in only["choices"]],
                         [(prompt, "length", None) for prompt in prompts])
        self.assertEqual(only["usage"]["completion_tokens"], 0)
        for one, other, prompt in zip(only["choices"], more, prompts):
            self.assertEqual(len(one["logprobs"]["tokens"]), len(self.token_ids(prompt)))
            for name, values in one["logprobs"].items():
                self.assertEqual(values, other["logprobs"][name][:-1], name)
        pieces = self.stream("/v1/completions", max_tokens=0, **fields | {"prompt": prompts[0]})
        self.assertEqual("".join(p["choices"][0]["text"] for p in pieces), prompts[0])
        self.assertEqual([t for p in pieces for t in p["choices"][0]["logprobs"]["tokens"]],
                         only["choices"][0]["logprobs"]["tokens"])

    def test_n(self):
        """Choice i is what seed + i gives alone; each prompt is counted once."""
        fields = {"prompt": ["Once upon a time there was", "a"], "max_tokens": 8, "temperature": 1}
        whole = self.answer("/v1/completions", n=3, seed=7, **fields)
        alone = [self.answer("/v1/completions", seed=7 + i, **fields) for i in range(3)]
        self.assertEqual([c["index"] for c in whole["choices"]], list(range(6)))
        self.assertEqual([c["text"] for c in whole["choices"]],
                         [alone[i]["choices"][p]["text"] for p in range(2) for i in range(3)])
        self.assertEqual(len({c["text"] for c in whole["choices"][:3]}), 3)
        self.assertEqual(whole["usage"]["prompt_tokens"], alone[0]["usage"]["prompt_tokens"])
        self.assertEqual(whole["usage"]["completion_tokens"], 48)
        chat = self.answer("/v1/chat/completions", messages=CHAT, n=2, max_tokens=4)
        self.assertEqual([c["index"] for c in chat["choices"]], [0, 1])

    def test_completion_logprobs(self):
        choice = self.answer("/v1/completions", prompt="Once", max_tokens=5, temperature=0, logprobs=2)["choices"][0]
        logprobs = choice["logprobs"]
        self.assertEqual({len(logprobs[k]) for k in ("tokens", "token_logprobs", "top_logprobs", "text_offset")}, {5})
        for token, value, top in zip(logprobs["tokens"], logprobs["token_logprobs"], logprobs["top_logprobs"]):
            self.assertEqual(max(top.values()), value)
        pieces = self.stream("/v1/completions", prompt="Once", max_tokens=5, temperature=0, logprobs=2)
        together = [o for p in pieces for o in p["choices"][0]["logprobs"]["text_offset"]]
        self.assertEqual(together, logprobs["text_offset"])

    def test_one_bad_prompt_of_many(self):
        long = [1] * (spate_server.Engine.MAX_SEQ_LEN + 1)
        status, _, body = self.ask("/v1/completions", prompt=[[1, 2], long, [3]], max_tokens=100)
        self.assertEqual(status, 400, body)
        spate_server.wait_for(lambda: self.server.metric("llm_requests_running") == 0, "the others are cancelled")

    # ---- chat

    def test_chat(self):
        whole = self.answer("/v1/chat/completions", messages=CHAT, max_tokens=8, seed=3)
        message = whole["choices"][0]["message"]
        self.assertEqual((whole["object"], message["role"], whole["choices"][0]["finish_reason"]),
                         ("chat.completion", "assistant", "length"))
        pieces = self.stream("/v1/chat/completions", messages=CHAT, max_completion_tokens=8, seed=3,
                             stream_options={"include_usage": True})
        self.assertEqual(pieces[0]["choices"][0]["delta"]["role"], "assistant")
        self.assertNotIn("role", pieces[1]["choices"][0]["delta"])
        self.assertEqual("".join(p["choices"][0]["delta"]["content"] for p in pieces[:-1]), message["content"])
        self.assertEqual(pieces[-1]["choices"], [])
        self.assertEqual(pieces[-1]["usage"]["completion_tokens"], 8)
        self.assertEqual(len({p["id"] for p in pieces}), 1)

    def test_chat_is_its_template(self):
        """The prompt is what /tokenize says of the messages, and parts are one content."""
        tokens = json.loads(self.ask("/tokenize", messages=CHAT)[2])["tokens"]
        raw = self.answer("/v1/completions", prompt=tokens, max_tokens=6, temperature=0)
        parts = [CHAT[0], {"role": "user", "content": [{"type": "text", "text": "Hello"}]}]
        for messages in (CHAT, parts):
            chat = self.answer("/v1/chat/completions", messages=messages, max_tokens=6, temperature=0)
            self.assertEqual(chat["choices"][0]["message"]["content"], raw["choices"][0]["text"])
            self.assertEqual(chat["usage"]["prompt_tokens"], len(tokens))

    def test_what_the_template_writes(self):
        """Members by their names, and methods, as the prompt's own text shows."""
        template = "{% for m in messages %}{{ m.role.upper() }}: {{ m.get('content').strip() }}\n{% endfor %}"
        engine = spate_server.Engine(template=template)
        with Server(engine) as server:
            for one, text in ((self.server, "system: Be brief.\nuser: Hello\nassistant:"),
                              (server, "SYSTEM: Be brief.\nUSER: Hello\n")):
                tokens = json.loads(one.request("POST", "/tokenize", json.dumps({"messages": CHAT}), JSON)[2])["tokens"]
                answer = one.request("POST", "/detokenize", json.dumps({"tokens": tokens}), JSON)[2]
                self.assertEqual(json.loads(answer)["prompt"], text)
        engine.remove()

    def test_template_fields(self):
        """What goes to the template changes the prompt: the generation prompt, and variables of its own."""
        count = lambda **fields: self.answer("/v1/chat/completions", messages=CHAT, max_tokens=1, **fields)["usage"]["prompt_tokens"]
        plain, without = count(), count(add_generation_prompt=False)
        self.assertEqual(plain - without, len(self.token_ids("assistant:")))
        self.assertEqual(count(add_generation_prompt=True, chat_template_kwargs={}), plain)
        self.assertEqual(count(chat_template_kwargs={"note": "ab"}) - plain, len(self.token_ids("ab")))

    def test_chat_logprobs(self):
        choice = self.answer("/v1/chat/completions", messages=CHAT, max_tokens=4, temperature=0, logprobs=True,
                             top_logprobs=3)["choices"][0]
        for token in choice["logprobs"]["content"]:
            self.assertEqual(len(token["top_logprobs"]), 3)
            self.assertEqual(token["top_logprobs"][0]["logprob"], token["logprob"])
            self.assertEqual(bytes(token["bytes"]).decode(errors="replace"), token["token"])

    # ---- the description

    def test_answers_are_as_described(self):
        """Every object of every route has the fields that /openapi.json tells, and each of those is somewhere."""
        schemas = spate_server.Schemas(self.server)
        scores = {"max_tokens": 3, "prompt_logprobs": 1}
        natively = {"prompt": "Once", "logprobs": True, "top_logprobs": 1} | scores
        schemas.check("GenerateAnswer", self.server.generate(**natively))
        for piece in sse_objects(self.server.post(natively | {"streaming": True})[2]):
            schemas.check("GeneratePiece", piece)
        for path, name, fields in (("/v1/completions", "Completion", {"prompt": "Once", "logprobs": 1}),
                                   ("/v1/chat/completions", "ChatCompletion",
                                    {"messages": CHAT, "logprobs": True, "top_logprobs": 1})):
            schemas.check(name, self.answer(path, **fields, **scores))
            schemas.check(name, self.answer(path, max_tokens=3, **{k: v for k, v in fields.items() if "logprobs" not in k}))
            for piece in self.stream(path, stream_options={"include_usage": True}, **fields, **scores):
                schemas.check(name, piece)
        schemas.check("Tokens", json.loads(self.ask("/tokenize", prompt="a")[2]))
        schemas.check("Text", json.loads(self.ask("/detokenize", tokens=[1])[2]))
        for path, name in (("/health", "Health"), ("/ready", "State"), ("/live", "State"), ("/version", "Version"),
                           ("/is_sleeping", "Sleeping"), ("/v1/models", "Models"), ("/v1/models/tiny", "Model"), ("/nowhere", "Error"), ("/v1/nowhere", "Error")):
            schemas.check(name, json.loads(self.server.get(path)[2]))
        adapters = spate_server.ROOT / "tests/fixtures/adapter"
        with Server(self.engine, "--admin-key", "boss", "--lora-dir", str(adapters)) as server:
            for path, body, name in (("/wake_up", "{}", "EngineState"),
                                     ("/v1/load_lora_adapter", '{"lora_name": "a", "lora_path": "tied"}', "AdapterState")):
                answer = server.request("POST", path, body, JSON | {"Authorization": "Bearer boss"})[2]
                schemas.check(name, json.loads(answer))
        told = {f"{name}.{field}" for name, schema in schemas.schemas.items() if not name.endswith("Request") and name not in spate_server.VECTOR_ANSWERS
                for field in schema["properties"]}
        self.assertEqual(told - schemas.seen, {"GeneratePiece.error", "Health.error"} | {field for field in told if field.partition(".")[0] in ("ToolCall", "CalledFunction")} |
                         {"ChatMessage.reasoning", "ChatMessage.reasoning_content", "ChatMessage.tool_calls"})  # of failures, and what this model does not write

    # ---- tokens

    def token_ids(self, text):
        return json.loads(self.ask("/tokenize", prompt=text)[2])["tokens"]

    def test_tokens_there_and_back(self):
        for text in ("Once upon a time", "", "über 😀"):
            ids = self.token_ids(text)
            status, _, body = self.ask("/detokenize", tokens=ids)
            self.assertEqual((status, json.loads(body)["prompt"]), (200, text))

    def test_texts_that_wait(self):
        """So many large texts at once that some are told to come back; the others have their tokens."""
        body = json.dumps({"prompt": " " * (1 << 19)})
        wanted = self.ask("/tokenize", prompt=" " * (1 << 19))
        self.assertEqual((wanted[0], json.loads(wanted[2])["count"]), (200, len(json.loads(wanted[2])["tokens"])))

        def burst():
            clients = [self.server.connect() for _ in range(40)]
            for client in clients:
                client.request("POST", "/tokenize", body, JSON)
            self.assertEqual(self.server.get("/live")[0], 200)
            answers = [client.getresponse() for client in clients]
            found = [(answer.status, answer.headers["Retry-After"], answer.read()) for answer in answers]
            for client in clients:
                client.close()
            return found

        def refused():
            answers = burst()
            self.assertTrue(all(a[2] == wanted[2] for a in answers if a[0] == 200))
            return [a for a in answers if a[0] != 200]

        status, again, answer = spate_server.wait_for(refused, "one is refused")[0]
        self.assertEqual((status, again), (429, "1"))
        self.assertEqual(json.loads(answer)["error"], "Too many texts wait for their tokens: try again later.")
        self.assertGreater(self.server.metric('http_requests_refused_total{reason="tokens"}'), 0)
        self.assertEqual(self.ask("/tokenize", prompt=" " * (1 << 19))[2], wanted[2])

    # ---- mistakes

    def test_refused(self):
        chat, completion = "/v1/chat/completions", "/v1/completions"
        user = [{"role": "user", "content": "a"}]
        for path, fields, status, param, sentence in (
            (completion, {}, 400, "prompt", "prompt is missing: send it as a string."),
            (chat, {}, 400, "messages", "messages is missing: send it as a list."),
            (chat, {"messages": []}, 400, "messages", "messages is a list, expected a list of objects, at least one."),
            (chat, {"messages": ["a"]}, 400, "messages", "messages is a list, expected a list of objects, at least one."),
            (completion, {"prompt": []}, 400, "prompt",
             "prompt is a list, expected a string, a list of token ids, or a list of 1 to 64 strings or such lists."),
            (completion, {"prompt": ["a", 5]}, 400, "prompt",
             "prompt is a list, expected a string, a list of token ids, or a list of 1 to 64 strings or such lists."),
            (completion, {"prompt": "a", "model": "gpt"}, 404, "model",
             'There is no model "gpt" here; this server has "tiny".'),
            (completion, {"prompt": "a", "temperature": "hot"}, 400, "temperature",
             "temperature is a string, expected a number from 0 to 100."),
            (chat, {"messages": user, "n": 0}, 400, "n", "n is 0, expected a whole number from 1 to 128."),
            (completion, {"prompt": ["a"] * 64, "n": 3}, 400, "n",
             "64 prompts with n 3 make 192 choices, expected at most 128: send fewer."),
            (chat, {"messages": user, "chat_template": "{{ 1 }}"}, 400, "chat_template",
             "The model's own template is the only one that is trusted: leave chat_template out."),
            (completion, {"prompt": "a", "max_tokens": 0}, 400, "max_tokens",
             "max_tokens is 0, which is for echo alone: set echo, or ask for a token."),
            (completion, {"prompt": "a", "structured_outputs": {"regex": "a*"}}, 400, "structured_outputs",
             "Structured output does not exist yet: leave structured_outputs out."),
            (chat, {"messages": user, "continue_final_message": True}, 400, "continue_final_message",
             "continue_final_message is true, expected false: more does not exist yet."),
            *((chat, {"messages": user, "tools": tools}, 400, "tools", f"tools is a list, expected {TOOLS_WANTED}.")
              for tools in ([], [1], [{"type": "function"}], [TOOL, TOOL], [{"type": "function", "function": {"name": "a b"}}],
                            [{"type": "function", "function": {"name": "a", "parameters": 1}}], [{"type": "web"}], [TOOL] * 129)),
            (chat, {"messages": user, "tools": TOOL}, 400, "tools", f"tools is an object, expected {TOOLS_WANTED}."),
            (chat, {"messages": user, "tools": [TOOL], "tool_choice": "required"}, 400, "tool_choice",
             "tool_choice is a string, expected \"auto\" or \"none\"; that calls are required needs structured output, which does not exist yet."),
            (chat, {"messages": user, "stream_options": {}}, 400, "stream_options",
             "stream_options are for streams: set stream to true, or leave them out."),
            (chat, {"messages": user, "top_logprobs": 2}, 400, "top_logprobs",
             "top_logprobs is 2 and logprobs is not true: set both."),
            (chat, {"messages": user, "add_generation_prompt": 1}, 400, "add_generation_prompt",
             "add_generation_prompt is 1, expected true or false."),
            (chat, {"messages": user, "chat_template_kwargs": []}, 400, "chat_template_kwargs",
             "chat_template_kwargs is a list, expected an object."),
            (chat, {"messages": user, "response_format": {"type": "json_object"}}, 400, "response_format",
             'response_format is an object, expected an object whose type is "text"; nothing else exists yet.'),
            (chat, {"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, None,
             'messages[0].content[0] is an image, and this model sees none: send text alone.'),
            (completion, {"prompt": [-1]}, 400, "prompt",
             "prompt is a list, expected a string, a list of token ids, or a list of 1 to 64 strings or such lists."),
            ("/tokenize", {}, 400, None, "prompt is missing or no string: send it, or messages."),
            ("/detokenize", {"tokens": [1.5]}, 400, None, "tokens is missing or no list of token ids."),
        ):
            with self.subTest(path=path, fields=fields):
                got, _, body = self.ask(path, **fields)
                error = json.loads(body)["error"]
                if path.startswith("/v1/"):
                    self.assertEqual((got, error["code"], error["param"], error["message"]), (status, status, param, sentence))
                else:
                    self.assertEqual((got, error), (status, sentence))

    def test_early_mistakes(self):
        """Mistakes that are told before a route is asked have the form of the path too."""
        for path, form in (("/v1/completions", dict), ("/generate", str)):
            for status, headers, body in ((413, {}, b"x" * ((1 << 20) + 1)), (417, {"Expect": "more"}, b"{}"),
                                          (415, {"Content-Type": "text/plain"}, b"{}"), (400, {}, b"{")):
                got, _, answer = self.server.request("POST", path, body, JSON | headers)
                error = json.loads(answer)["error"]
                self.assertEqual((got, type(error)), (status, form), (path, answer))
                if form is dict:
                    self.assertEqual((error["code"], error["type"], error["param"]), (status, "BadRequestError", None))
        got, headers, answer = self.server.request("DELETE", "/v1/completions")
        self.assertEqual((got, json.loads(answer)["error"]["code"], headers["Allow"]), (405, 405, "OPTIONS, POST"))

    def test_seed(self):
        """Any number of 64 bits; -1 draws one, as none does."""
        def text(**more):  # with these, two of 1,000 drawn texts are hardly ever the same
            return self.answer("/v1/completions", prompt="Once", max_tokens=24, temperature=2, frequency_penalty=2,
                               **more)["choices"][0]["text"]

        for seed in (0, -2, 2 ** 63 - 1, -2 ** 63):
            self.assertEqual(text(seed=seed), text(seed=seed))
        self.assertEqual(len({text(seed=-1), text(seed=-1), text(seed=-1)}), 3)
        self.assertEqual(len({text(), text(), text()}), 3)

    def test_long_sentences(self):
        """What a template says against a conversation comes whole, on a stream that has not begun too."""
        reason = "word " * 50 + "and no more"
        engine = spate_server.Engine(template="{{ raise_exception('" + reason + "') }}")
        self.addCleanup(engine.remove)
        with Server(engine) as server:
            for stream in (False, True):
                fields = json.dumps({"messages": CHAT, "stream": stream})
                status, _, body = server.request("POST", "/v1/chat/completions", fields, JSON)
                self.assertEqual((status, json.loads(body)["error"]["message"]),
                                 (400, "The model's chat template refuses these messages: " + reason))

    def test_unknown_fields_are_counted(self):
        before = self.server.metric("http_ignored_fields_total")
        self.answer("/v1/chat/completions", messages=CHAT, max_tokens=1, user="me", store=True, tools=None,
                    add_generation_prompt=True, chat_template_kwargs={"enable_thinking": False}, continue_final_message=False)
        self.assertEqual(self.server.metric("http_ignored_fields_total"), before + 2)

    def test_cached_tokens(self):
        prompt = "the same long beginning of a prompt, " * 8
        first = self.answer("/v1/completions", prompt=prompt, max_tokens=1)["usage"]
        again = self.answer("/v1/completions", prompt=prompt, max_tokens=1)["usage"]
        salted = self.answer("/v1/completions", prompt=prompt, max_tokens=1, cache_salt="other")["usage"]
        cached = [u["prompt_tokens_details"]["cached_tokens"] for u in (first, again, salted)]
        self.assertEqual((cached[0], cached[2]), (0, 0))
        self.assertGreaterEqual(cached[1], again["prompt_tokens"] - 16)


if __name__ == "__main__":
    spate_server.main(__name__)
