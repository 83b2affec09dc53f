#!/usr/bin/env python3
"""What jinja2 makes of chat templates, set up as transformers sets it up: tests/fixtures/text/chat/.

    python3 tools/make_chat_fixtures.py [--templates FOLDER]

conversations.json holds the conversations, own.json what the templates committed beside it (*.jinja) give for each, and
random.json random templates with what they give for the conversation "answered", html.json the same of texts marked as
HTML, calls.json calls of all that templates can name with what they give (null: an error), and
models.json size and FNV-1a of what the real templates of FOLDER give: neither they nor their words are committed. Without
--templates models.json stays.
"""

import argparse
import copy
import datetime
import json
import pathlib
import warnings

import jinja2
import jinja2.ext
import jinja2.sandbox

import random_templates
import template_calls

warnings.simplefilter("ignore", SyntaxWarning)  # random templates compile to odd Python

FOLDER = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/text/chat"
NOW = datetime.datetime(2024, 7, 26, 12, 34, 56)
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}

WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a place.",
        "parameters": {
            "type": "object",
            "properties": {
                "place": {"type": "string", "description": "City, country"},
                "unit": {"type": "string", "enum": ["celsius", "fahrenheit"], "default": "celsius"},
                "days": {"type": "integer", "default": 3},
                "tags": {"type": "array", "items": {"type": "string"}},
                "detail": {"type": "object", "properties": {"wind": {"type": "boolean"}}, "required": []},
                "either": {"type": ["string", "null"]},
                "number": {"type": "number", "nullable": True},
            },
            "required": ["place"],
        },
        "return": {"type": "string", "description": "A <sentence> & more"},
    },
}
ADD = {"type": "function", "function": {
    "name": "add", "description": "Adds two numbers.",
    "parameters": {"type": "object", "properties": {"a": {"type": "integer", "description": "One"}, "b": {"type": "number"}},
                   "required": ["a", "b"]}}}
CALL = {"id": "abcdef123", "type": "function",
        "function": {"name": "get_weather", "arguments": {"place": "Zürich \"West\"", "days": 2, "tags": ["a", "b"]}}}


def user(text):
    return {"role": "user", "content": text}


def assistant(text):
    return {"role": "assistant", "content": text}


def system(text):
    return {"role": "system", "content": text}


TURNS = [user("Hi!"), assistant("Hello, how are you?"), user("Fine.\nAnd you?")]
TOOL_TURNS = [
    user("Weather?"),
    {"role": "assistant", "content": "", "tool_calls": [CALL]},
    {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "{\"degrees\": 21.5}"},
    assistant("21.5 degrees."),
    user("Thanks"),
]

CONVERSATIONS = {
    "one": {"messages": [user("Hi!")], "add_generation_prompt": True},
    "system": {"messages": [system("Be brief.")] + TURNS, "add_generation_prompt": True},
    "turns": {"messages": TURNS, "add_generation_prompt": False},
    "answered": {"messages": TURNS + [assistant("  Good.  ")], "add_generation_prompt": False},
    "unicode": {"messages": [user("\tGrüße 世界 🦙 e\u0301\u00a0\n"), assistant("«ça» \u2028 \u200b"), user("\x00\x1f\"'\\")],
                "add_generation_prompt": True},
    "empty": {"messages": [system(""), user(""), assistant(""), user(" ")], "add_generation_prompt": True},
    "markers": {"messages": [user("<|im_end|><|im_start|>system\n{{ 7 * 7 }}{% if %}</s>[/INST]<end_of_turn>")],
                "add_generation_prompt": True},
    "tools": {"messages": [system("Be brief."), user("Weather?")], "tools": [WEATHER], "add_generation_prompt": True},
    "tool_turns": {"messages": TOOL_TURNS, "tools": [WEATHER], "add_generation_prompt": True},
    "simple_tools": {"messages": TOOL_TURNS[:3], "tools": [ADD, ADD], "add_generation_prompt": True},
    "thinking": {"messages": [user("1+1?"), assistant("<think>\neasy\n</think>\n\n2"), user("2+2?")],
                 "add_generation_prompt": True, "variables": {"enable_thinking": False, "reasoning_effort": "high"}},
    "two_users": {"messages": [user("a"), user("b")], "add_generation_prompt": True},
    "late_system": {"messages": [user("a"), system("b")], "add_generation_prompt": True},
    "unknown_role": {"messages": [{"role": "narrator", "content": "x"}], "add_generation_prompt": True},
    "parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "See"}, {"type": "image"}]}],
              "add_generation_prompt": True},
    "no_content": {"messages": [user("a"), {"role": "assistant", "content": None}], "add_generation_prompt": False},
    "system_alone": {"messages": [system("Be brief.")], "add_generation_prompt": True},
    "system_parts": {"messages": [{"role": "system", "content": [{"type": "text", "text": "Be"}, {"type": "text", "text": "brief."}]},
                                  user("Hi!")], "add_generation_prompt": True},
    "all_parts": {"messages": [{"role": "user", "content": [{"type": "text", "text": "One "}, {"type": "text", "text": "two"}]},
                               {"role": "assistant", "content": [{"type": "text", "text": "Three"}]}, user("four")],
                  "add_generation_prompt": True},
    "developer": {"messages": [{"role": "developer", "content": "Be brief."}, user("Hi!")], "add_generation_prompt": True},
    "reasoning": {"messages": [user("1+1?"), {"role": "assistant", "content": "2", "reasoning_content": "One and one\nare two."},
                               user("And 2+2?")], "add_generation_prompt": True, "variables": {"enable_thinking": True}},
    "reasoning_last": {"messages": [user("1+1?"), {"role": "assistant", "content": "<think>easy</think>2",
                                                   "reasoning_content": "easy"}], "add_generation_prompt": False},
    "reasoning_tools": {"messages": TOOL_TURNS[:1] + [{**TOOL_TURNS[1], "reasoning_content": "I ask.", "thinking": "I ask."}]
                        + TOOL_TURNS[2:3], "tools": [WEATHER, ADD], "add_generation_prompt": True},
    "two_calls": {"messages": [user("Both?"), {"role": "assistant", "content": None, "tool_calls": [
        CALL, {"id": "xyz987654", "type": "function", "function": {"name": "add", "arguments": {"a": 1, "b": 2.5}}}]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "21.5"},
        {"role": "tool", "name": "add", "tool_call_id": "xyz987654", "content": "3.5"}],
        "tools": [WEATHER, ADD], "add_generation_prompt": True},
    "call_texts": {"messages": [user("Weather?"), {"role": "assistant", "content": "I look.", "tool_calls": [
        {"id": "abcdef123", "type": "function",
         "function": {"name": "get_weather", "arguments": "{\"place\": \"Zürich\"}"}}]},
        {"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123", "content": "21.5 °C <dry>"}],
        "tools": [WEATHER], "add_generation_prompt": True},
    "no_arguments": {"messages": [user("Go"), {"role": "assistant", "content": "", "tool_calls": [
        {"id": "abcdef123", "type": "function", "function": {"name": "go", "arguments": {}}}]}],
        "tools": [{"type": "function", "function": {"name": "go", "description": "", "parameters": {"type": "object", "properties": {}}}}],
        "add_generation_prompt": False},
    "tool_object": {"messages": TOOL_TURNS[:2] + [{"role": "tool", "name": "get_weather", "tool_call_id": "abcdef123",
                                                   "content": {"degrees": 21.5, "wind": [1, 2, None]}}],
                    "tools": [WEATHER], "add_generation_prompt": True},
    "no_tools": {"messages": [user("Hi!")], "tools": [], "add_generation_prompt": True},
    "long": {"messages": [turn for i in range(10) for turn in (user(f"Question {i}?"), assistant(f"Answer {i}."))] + [user("Last?")],
             "add_generation_prompt": True},
    "continued": {"messages": [user("Write."), assistant("Once upon")], "add_generation_prompt": False,
                  "variables": {"continue_final_message": True}},
    "scripts": {"messages": [system("Отвечай кратко."), user("مرحبا بالعالم"), assistant("नमस्ते ภาษาไทย 한국어"), user("👩‍👩‍👧‍👦\u200d\ufeff")],
                "add_generation_prompt": True},
    "spaces": {"messages": [user("  \n a \n\n"), assistant("\n\n b\t"), user("\r\nc")], "add_generation_prompt": True},
    "options": {"messages": [system("Be brief."), user("Hi!")], "tools": [ADD], "add_generation_prompt": True,
                "variables": {"enable_thinking": False, "reasoning_effort": "low", "thinking": True, "builtin_tools": ["browser"],
                              "custom_tools": None, "date_string": "27 Nov 2026", "model_identity": "I am a model."}},
}


class Refused(Exception):
    pass


class Generation(jinja2.ext.Extension):
    """{% generation %}…{% endgeneration %}: the body as it is."""

    tags = {"generation"}

    def parse(self, parser):
        line = next(parser.stream).lineno
        body = parser.parse_statements(["name:endgeneration"], drop_needle=True)
        return jinja2.nodes.CallBlock(self.call_method("body_of"), [], [], body).set_lineno(line)

    def body_of(self, caller):
        return caller()


def environment():
    env = jinja2.sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, jinja2.ext.loopcontrols])

    def tojson(value, ensure_ascii=False, indent=None, separators=None, sort_keys=False):
        return json.dumps(value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys)

    def raise_exception(message):
        raise Refused(message)

    class Dict:
        def __call__(self, *args, **kwargs):
            return dict(*args, **kwargs)

        def fromkeys(self, *args, **kwargs):
            return dict.fromkeys(*args, **kwargs)

    class Namespace(jinja2.utils.Namespace):
        def __init__(*args, **kwargs):
            self, args = args[0], args[1:]
            attributes = dict(*args, **kwargs)
            for name in attributes:
                check_name(name)
            jinja2.utils.Namespace.__init__(self, attributes)

        def __setitem__(self, name, value):
            check_name(name)
            jinja2.utils.Namespace.__setitem__(self, name, value)

    def check_name(name):
        if isinstance(name, str) and name.startswith("_"):
            raise jinja2.exceptions.SecurityError(name)

    env.filters["tojson"] = tojson
    env.globals["raise_exception"] = raise_exception
    env.globals["strftime_now"] = NOW.strftime
    env.globals["dict"] = Dict()
    env.globals["namespace"] = Namespace
    return env


def render(env, source, conversation):
    """{"text"}, {"refused": the template's words} or {"fails": jinja2's}."""
    try:
        variables = {"documents": None, **TOKENS, **conversation.get("variables", {})}
        return {"text": env.from_string(source).render(
            messages=conversation["messages"], tools=conversation.get("tools"),
            add_generation_prompt=conversation["add_generation_prompt"], **variables)}
    except Refused as refusal:
        return {"refused": str(refusal)}
    except Exception as error:
        return {"fails": f"{type(error).__name__}: {error}"}


def results(folder):
    env = environment()
    return {path.stem: {name: render(env, path.read_text(), conversation)
                        for name, conversation in CONVERSATIONS.items()}
            for path in sorted(folder.glob("*.jinja"))}


def digest(result):
    """The text of a template that is somebody else's, as its size and 64 bits of FNV-1a."""
    if "text" not in result:
        return result
    text, value = result["text"].encode(), 0xCBF29CE484222325
    for byte in text:
        value = (value ^ byte) * 0x100000001B3 % 2**64
    return {"digest": f"{len(text)} {value:016x}"}


def random_results(sources, count):
    """Those that render, but for what only Python prints, and long ones."""
    env, rows = environment(), []
    for source in sources:
        text = render(env, source, copy.deepcopy(CONVERSATIONS["answered"])).get("text")  # "+=" of lists changes it
        if text and len(text) < 1000 and not any(part in text for part in ("<bound", "<built-in", "<generator", " object at ", "dict_", "Undefined")):
            rows.append([source, text])
        if len(rows) == count:
            break
    return rows


def call_results(count):
    """Each with its text, or null where it fails; but what prints an address."""
    env, rows = environment(), []
    for source in template_calls.calls(2, count):
        text = render(env, source, copy.deepcopy(CONVERSATIONS["answered"])).get("text")
        if not text or not any(part in text for part in (" object at ", "<built-in", "<bound")):
            rows.append([source, text])
    return rows


def write(name, value):
    (FOLDER / name).write_text(json.dumps(value, ensure_ascii=False, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--templates", type=pathlib.Path)
    folder = parser.parse_args().templates
    write("conversations.json", CONVERSATIONS)
    write("own.json", results(FOLDER))
    write("random.json", random_results(random_templates.templates(1, 20000), 500))
    write("html.json", random_results([source for source in random_templates.html_templates(1, 3200) if len(source) < 250], 1200))
    write("calls.json", call_results(4000))
    if folder:
        write("models.json", {model: {name: digest(result) for name, result in made.items()}
                              for model, made in results(folder).items()})


if __name__ == "__main__":
    main()
