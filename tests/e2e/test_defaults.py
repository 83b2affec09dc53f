"""What a model's generation_config.json says holds on every route and in the terminal, unless a request says otherwise."""
import json
import subprocess
import urllib.parse

import spate_server
from spate_server import JSON, SPATE, Engine, Server

PROMPT = "Once upon a time"
CHAT = [{"role": "user", "content": "Hello"}]
TOKENS = 12


def routes(server):
    """Each route that generates, as a function of more fields that gives the text."""
    def post(path, fields, text_of):
        status, _, body = server.request("POST", path, json.dumps(fields | {"max_tokens": TOKENS}), JSON)
        assert status == 200, body
        return text_of(json.loads(body))

    def query(fields):
        text = urllib.parse.urlencode({"prompt": PROMPT, "max_tokens": TOKENS} | fields)
        status, _, body = server.get(f"/generate?{text}")
        assert status == 200, body
        return json.loads(body)["text"]

    return {
        "POST /generate": lambda **more: post("/generate", {"prompt": PROMPT} | more, lambda a: a["text"]),
        "GET /generate": lambda **more: query(more),
        "/v1/completions": lambda **more: post("/v1/completions", {"prompt": PROMPT} | more, lambda a: a["choices"][0]["text"]),
        "/v1/chat/completions": lambda **more: post("/v1/chat/completions", {"messages": CHAT} | more,
                                                    lambda a: a["choices"][0]["message"]["content"]),
    }


def terminal(engine, *more):
    options = ("--kv-cache-memory", "256M", "--max-tokens", str(TOKENS), *more)
    said = [subprocess.run((SPATE, *command, *options), input=text, capture_output=True, text=True, check=True).stdout
            for command, text in ((("generate", engine.path), PROMPT), (("chat", engine.path), CHAT[0]["content"]))]
    return dict(zip(("spate generate", "spate chat"), said))


class Defaults(spate_server.EngineCase):
    def texts(self, engine, **more):
        with Server(engine, backend="cpu") as server:
            return {name: ask(**more) for name, ask in routes(server).items()}

    def check(self, generation, plainly):
        """The defaults of a model that says `generation` are what `plainly` asks of one that says nothing, with a seed."""
        engine = Engine(generation=generation)
        self.addCleanup(engine.remove)
        wanted = self.texts(self.engine, seed=12, **plainly)
        self.assertEqual(self.texts(engine, seed=12), wanted, generation)
        for name, text in self.texts(self.engine, seed=12).items():
            self.assertNotEqual(text, wanted[name], f"{generation} makes no difference at {name}: this test shows nothing")
        options = [o for name, value in plainly.items() for o in (f"--{name.replace('_', '-')}", str(value))]
        self.assertEqual(terminal(engine, "--seed", "12"), terminal(self.engine, "--seed", "12", *options), generation)
        off = {"temperature": 1, "top_k": 0, "top_p": 1, "min_p": 0, "typical_p": 1, "repetition_penalty": 1}
        self.assertEqual(self.texts(engine, seed=12, **off), self.texts(self.engine, seed=12), "a request has the last word")

    def test_greedy(self):
        self.check({"do_sample": False, "temperature": 0.7}, {"temperature": 0})

    def test_filters(self):
        self.check({"do_sample": True, "top_k": 1}, {"top_k": 1})
        self.check({"top_p": 1e-4}, {"top_p": 1e-4})
        self.check({"min_p": 1.0}, {"min_p": 1})
        self.check({"temperature": 0.05}, {"temperature": 0.05})

    def test_penalty(self):
        self.check({"temperature": 0.05, "repetition_penalty": 50.0}, {"temperature": 0.05, "repetition_penalty": 50})

    def test_ends(self):
        """eos_token_id may be a list; ignore_eos takes it back."""
        with Server(self.engine, backend="cpu") as server:
            ids = [token["id"] for token in server.generate(prompt=PROMPT, max_tokens=TOKENS, temperature=0,
                                                             logprobs=True)["logprobs"]]
        engine = Engine(generation={"eos_token_id": [ids[3], ids[7]]})
        self.addCleanup(engine.remove)
        first = min(ids.index(ids[3]), ids.index(ids[7]))
        with Server(engine, backend="cpu") as server:
            ended = server.generate(prompt=PROMPT, max_tokens=TOKENS, temperature=0)
            self.assertEqual((ended["usage"]["completion_tokens"], ended["finish_reason"], ended["stop_reason"]),
                             (first + 1, "stop", None))
            whole = server.generate(prompt=PROMPT, max_tokens=TOKENS, temperature=0, ignore_eos=True)
            self.assertEqual((whole["usage"]["completion_tokens"], whole["finish_reason"]), (TOKENS, "length"))


if __name__ == "__main__":
    spate_server.main(__name__)
