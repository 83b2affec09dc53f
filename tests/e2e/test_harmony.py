"""gpt-oss as it is served: its own chat template, channels and calls, answers of a network that computes them
(scripted_gpt_oss.py). Needs SPATE_TEST_DATA, which has the template."""
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import unittest

import scripted_gpt_oss
import spate_server
from spate_server import JSON, SPATE, Server

TEMPLATE = pathlib.Path(os.environ.get("SPATE_TEST_DATA", "/nowhere")) / "templates/openai-gpt-oss-120b.jinja"
THOUGHT = ["<|channel|>", "analysis", "<|message|>", "They ask ", "for rain.", "<|end|>"]
ANSWER = ["<|channel|>", "final", "<|message|>", "Yes, ", "it rains.", "<|return|>"]
CALL = ["<|channel|>", "commentary to=functions.get_weather ", "<|constrain|>", "json", "<|message|>",
        '{"city":"Rome"}', "<|call|>"]
TOOL = {"type": "function", "function": {"name": "get_weather", "description": "The weather.", "parameters": {
    "type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}}}
ASKED = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Does it rain in Rome?"}]


class Scripted:
    """An engine of such a network."""

    def __init__(self, second):
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="spate-e2e-"))
        model = self.folder / "model"
        model.mkdir()
        scripted_gpt_oss.save(model, THOUGHT, second, TEMPLATE.read_text())
        self.path = self.folder / "tiny.spate"
        subprocess.run([SPATE, "build", model, "-o", self.path, "--max-seq-len", "4096"], check=True,
                       stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def remove(self):
        shutil.rmtree(self.folder)


class Harmony(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not TEMPLATE.exists():
            raise unittest.SkipTest("SKIPPED: SPATE_TEST_DATA is not set to a folder with the template of gpt-oss")
        cls.engines = Scripted(ANSWER), Scripted(CALL)

    @classmethod
    def tearDownClass(cls):
        for engine in cls.engines:
            engine.remove()

    def chat(self, engine, messages=ASKED, **fields):
        with Server(engine, backend="cpu") as server:
            body = json.dumps({"model": "model", "messages": messages, "temperature": 0, **fields})
            status, _, answer = server.request("POST", "/v1/chat/completions", body, JSON)
        self.assertEqual(status, 200, answer)
        return answer

    def choice(self, *arguments, **fields):
        return json.loads(self.chat(*arguments, **fields))["choices"][0]

    def test_channels(self):
        choice = self.choice(self.engines[0])
        message = choice["message"]
        self.assertEqual((message["reasoning_content"], message["content"], choice["finish_reason"]),
                         ("They ask for rain.", "Yes, it rains.", "stop"))

    def test_streamed_channels(self):
        told = {"reasoning_content": "", "content": ""}
        pieces = self.chat(self.engines[0], stream=True).decode().replace("data: [DONE]\n\n", "").encode()
        for piece in spate_server.sse_objects(pieces):
            for part in told:
                told[part] += piece["choices"][0]["delta"].get(part) or ""
        self.assertEqual(told, {"reasoning_content": "They ask for rain.", "content": "Yes, it rains."})

    def test_call(self):
        choice = self.choice(self.engines[1], tools=[TOOL])
        call, = choice["message"]["tool_calls"]
        self.assertEqual((choice["message"]["reasoning_content"], choice["finish_reason"]), ("They ask for rain.", "tool_calls"))
        self.assertEqual((call["function"]["name"], json.loads(call["function"]["arguments"])), ("get_weather", {"city": "Rome"}))
        result = [*ASKED, choice["message"], {"role": "tool", "tool_call_id": call["id"], "content": "rain"}]
        self.assertEqual(self.choice(self.engines[0], result, tools=[TOOL])["message"]["content"], "Yes, it rains.")

    def test_as_it_is(self):
        """The text of /v1/completions has no special tokens, and all of the rest."""
        with Server(self.engines[0], backend="cpu") as server:
            status, _, body = server.request("POST", "/v1/completions", json.dumps(
                {"model": "model", "prompt": "assistant", "temperature": 0, "max_tokens": 40}), JSON)
        self.assertEqual((status, json.loads(body)["choices"][0]["text"]),
                         (200, "analysisThey ask for rain.assistantfinalYes, it rains."))


if __name__ == "__main__":
    spate_server.main(__name__)
