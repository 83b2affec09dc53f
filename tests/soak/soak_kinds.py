"""What a soak asks of a server: requests whose answers are known, requests that must be refused, and clients that behave
badly. An answer is compared in a form that streamed and whole ones share, without what may differ from run to run (ids,
times, how much of a prompt the cache had)."""
import json
import pathlib
import sys
import urllib.parse

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "e2e"))

import test_refused  # noqa: E402
from spate_server import sse_objects  # noqa: E402

GENERATE, COMPLETION, CHAT = "/generate", "/v1/completions", "/v1/chat/completions"


# ---- answers that are known

def base_requests():
    """name: (path, fields). Greedy, a search, or drawn with a seed: the bytes are the same whatever else runs."""
    text = "Once upon a time there was a little"
    talk = [{"role": "user", "content": "Name three colours."}]
    longer = talk + [{"role": "assistant", "content": "Red, green and blue."}, {"role": "user", "content": "One more, please."}]
    greedy = {"temperature": 0, "ignore_eos": True}
    return {
        "generate": (GENERATE, {"prompt": text, "max_tokens": 40, **greedy}),
        "generate, one token": (GENERATE, {"prompt": "The capital of France is", "max_tokens": 1, **greedy}),
        "generate, seeded": (GENERATE, {"prompt": text, "max_tokens": 30, "temperature": 0.9, "top_k": 20, "top_p": 0.9, "seed": 7}),
        "generate, penalties": (GENERATE, {"prompt": text, "max_tokens": 24, "repetition_penalty": 1.3, "frequency_penalty": 0.5,
                                           "presence_penalty": 0.2, "logit_bias": {"65": 2, "70": -100}, **greedy}),
        "generate, logprobs": (GENERATE, {"prompt": text, "max_tokens": 16, "logprobs": True, "top_logprobs": 5, **greedy}),
        "generate, beams": (GENERATE, {"prompt": text, "max_tokens": 10, "use_beam_search": True, "best_of": 3, "ignore_eos": True}),
        "generate, bad words": (GENERATE, {"prompt": text, "max_tokens": 16, "bad_words": ["a", " the"], "min_tokens": 8, **greedy}),
        "generate, typical": (GENERATE, {"prompt": text, "max_tokens": 16, "typical_p": 0.9, "min_p": 0.01, "seed": 3}),
        "generate, salted": (GENERATE, {"prompt": text, "max_tokens": 16, "cache_salt": "soak", "priority": 3, **greedy}),
        "generate, long prompt": (GENERATE, {"prompt": "It was a bright cold day in April. " * 30, "max_tokens": 8, **greedy}),
        "generate, long answer": (GENERATE, {"prompt": "Count: 1, 2, 3,", "max_tokens": 250, **greedy}),
        "completion": (COMPLETION, {"prompt": text, "max_tokens": 24, **greedy}),
        "completion, list": (COMPLETION, {"prompt": [text, "The sea", "Two and two"], "max_tokens": 12, **greedy}),
        "completion, token ids": (COMPLETION, {"prompt": [10, 11, 12, 13, 14], "max_tokens": 12, **greedy}),
        "completion, n": (COMPLETION, {"prompt": text, "n": 3, "max_tokens": 12, "temperature": 1, "seed": 11, "ignore_eos": True}),
        "completion, beams": (COMPLETION, {"prompt": text, "n": 2, "best_of": 4, "use_beam_search": True, "max_tokens": 10,
                                           "length_penalty": 0.7, "ignore_eos": True}),
        "completion, logprobs": (COMPLETION, {"prompt": text, "n": 2, "max_tokens": 10, "logprobs": 3, **greedy}),
        "completion, echo": (COMPLETION, {"prompt": text, "max_tokens": 6, "echo": True, "logprobs": 1, **greedy}),
        "completion, scores": (COMPLETION, {"prompt": text, "max_tokens": 2, "prompt_logprobs": 2, **greedy}),
        "chat": (CHAT, {"messages": talk, "max_tokens": 24, **greedy}),
        "chat, later turn": (CHAT, {"messages": longer, "max_tokens": 24, **greedy}),
        "chat, n and logprobs": (CHAT, {"messages": talk, "max_tokens": 10, "n": 2, "seed": 5, "temperature": 0.8, "logprobs": True,
                                        "top_logprobs": 2, "ignore_eos": True}),
        "chat, beams": (CHAT, {"messages": talk, "max_tokens": 8, "use_beam_search": True, "best_of": 2, "n": 2, "ignore_eos": True}),
    }


def stopping_requests(text):
    """Those that end at a string of a text which is known."""
    fields = {"prompt": base_requests()["generate"][1]["prompt"], "max_tokens": 40, "temperature": 0, "ignore_eos": True}
    stop = text[len(text) // 2:][:4]
    return {
        "generate, stop": (GENERATE, fields | {"stop": stop}),
        "generate, stop shown": (GENERATE, fields | {"stop": ["\x7fnever", stop], "include_stop_str_in_output": True}),
        "completion, stop held back": (COMPLETION, fields | {"stop": text[2:6] + "\x7f", "n": 2}),
    }


def streamed(path, fields):
    return fields | ({"stream": True} if path == GENERATE else {"stream": True, "stream_options": {"include_usage": True}})


def query_of(fields):
    """/generate by GET: the same fields in the URL."""
    plain = {name: json.dumps(v) if isinstance(v, (bool, int, float, dict)) else v for name, v in fields.items()}
    return GENERATE + "?" + urllib.parse.urlencode(plain, doseq=True)


def answer_of(path, body):
    """What must always be the same of an answer that came whole, or as a stream."""
    if body.startswith(b"data: "):
        objects = sse_objects(body.removesuffix(b"data: [DONE]\n\n"))
        ended = body.endswith(b"data: [DONE]\n\n") or path == GENERATE
    else:
        objects, ended = [json.loads(body)], True
    choices, usage = {}, None
    for one in objects:
        assert "error" not in one or one["error"] is None, one["error"]
        for piece in [one] if path == GENERATE else one["choices"]:
            merge(choices.setdefault(piece.get("index", 0), {"text": "", "ends": [], "logprobs": {}, "scores": []}), piece)
        if one.get("usage"):
            usage = [one["usage"]["prompt_tokens"], one["usage"]["completion_tokens"]]
    assert ended, "a stream without its end"
    return [choices, usage]


def merge(choice, piece):
    message = piece.get("message") or piece.get("delta") or {}
    choice["text"] += piece.get("text") or message.get("content") or ""
    if piece.get("finish_reason"):
        choice["ends"] += [piece["finish_reason"], piece.get("stop_reason")]
    logprobs = piece.get("logprobs") or {}
    for name, values in {"content": logprobs}.items() if isinstance(logprobs, list) else logprobs.items():
        if values is not None:
            choice["logprobs"].setdefault(name, []).extend(values)
    choice["scores"] += piece.get("prompt_logprobs") or []


# ---- other paths, whose bodies are known

def plain_requests():
    """name: (method, path, fields or None)"""
    talk = [{"role": "user", "content": "Hi"}]
    return {
        "tokenize": ("POST", "/tokenize", {"prompt": "The quick brown fox, 1234 times."}),
        "tokenize a chat": ("POST", "/tokenize", {"messages": talk}),
        "tokenize much": ("POST", "/tokenize", {"prompt": "word " * 3000}),
        "detokenize": ("POST", "/detokenize", {"tokens": [40, 41, 42, 50, 60]}),
        "version": ("GET", "/version", None),
        "live": ("GET", "/live", None),
        "ready": ("GET", "/ready", None),
        "models": ("GET", "/v1/models", None),
        "description": ("GET", "/openapi.json", None),
    }


# ---- what is refused

def refused_requests():
    """name: (method, path, body, headers, status)"""
    text, form = {"Content-Type": "application/json"}, {"Content-Type": "text/plain"}
    talk = '"messages": [{"role": "user", "content": "a"}]'
    table = {f"body {body}": ("POST", GENERATE, body, text, 400) for body in test_refused.BAD_BODIES}
    table |= {f"query {query}": ("GET", f"{GENERATE}?{query}", None, {}, 400) for query in test_refused.BAD_QUERIES}
    for name, (path, body, status) in {
        "broken JSON": (GENERATE, '{"prompt": "a"', 400),
        "deep JSON": (GENERATE, "[" * 1000, 400),
        "no UTF-8": (GENERATE, b'{"prompt": "\xff"}', 400),
        "too long": (GENERATE, '{"prompt": "a", "max_tokens": 2000000000}', 400),
        "body too large": (GENERATE, '{"prompt": "' + "x" * (2 << 20) + '"}', 413),
        "another model": (COMPLETION, '{"prompt": "a", "model": "nobody"}', 404),
        "64 prompts and one": (COMPLETION, json.dumps({"prompt": ["a"] * 65}), 400),
        "token out of range": (COMPLETION, '{"prompt": [2000000]}', 400),
        "too many choices": (COMPLETION, '{"prompt": "a", "n": 129}', 400),
        "too many beams": (COMPLETION, '{"prompt": "a", "use_beam_search": true, "best_of": 17}', 400),
        "tools": (CHAT, "{" + talk + ', "tools": [{"type": "function"}]}', 400),
        "no messages": (CHAT, '{"messages": []}', 400),
        "an image": (CHAT, '{"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}', 400),
        "structured output": (CHAT, "{" + talk + ', "response_format": {"type": "json_object"}}', 400),
        "tokens that are none": ("/detokenize", '{"tokens": [-1]}', 400),
        "tokenize nothing": ("/tokenize", "{}", 400),
    }.items():
        table[name] = ("POST", path, body, text, status)
    return table | {
        "time over": ("POST", GENERATE, '{"prompt": "a", "max_tokens": 480, "ignore_eos": true, "timeout_s": 0.002}', text, 504),
        "no JSON": ("POST", GENERATE, "prompt=a", form, 415),
        "no such path": ("GET", "/nothing", None, {}, 404),
        "wrong method": ("GET", CHAT, None, {}, 405),
        "unknown method": ("BREW", GENERATE, None, {}, 501),
        "long URL": ("GET", "/" + "x" * 9000, None, {}, 414),
        "expectation": ("POST", GENERATE, "{}", text | {"Expect": "tea"}, 417),
        "many header lines": ("GET", "/live", None, {f"X-{i}": "1" for i in range(120)}, 431),
    }


def refused_heads():
    return test_refused.BAD_HEADS | {"not HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n",
                                     "another version": b"GET /live HTTP/3.0\r\nHost: t\r\n\r\n"}
