#!/usr/bin/env python3
"""Answers with thoughts and calls, as models write them, and what they are: tests/fixtures/text/calls.json.

    python3 tools/make_call_fixtures.py --templates FOLDER

Real ones: what the chat templates of public models (FOLDER, not committed) make of a message with thoughts and calls, by
jinja2, is what the model is to write; the message is what must be read. Of a template only the marks are kept. Others,
for forms that these templates do not write or that are broken, are given below in words.
"""

import argparse
import itertools
import json
import pathlib

from make_chat_fixtures import environment

OUT = pathlib.Path(__file__).resolve().parent.parent / "tests/fixtures/text/calls.json"
SIGNS = ["<|START_TEXT|>", "<function=", "<|channel|>", "<|START_ACTION|>", "<|END_THINKING|>", "<｜tool▁calls▁begin｜>", "[TOOL_CALLS]", "[/THINK]", "<|tool_call|>",
         "<tool_call>", "<|python_tag|>", "\"parameters\": ", "</think>", "<response>", "<|python_start|>", "[func_name1(",
         "json-formatted list of actions", "<|tool_calls_section_begin|>", "<|tool_call>", "<start_function_call>", "｜DSML｜",
         "<minimax:tool_call>", "<seed:tool_call>", "<function name=\"", "<|tools_prefix|>", "<|tool_call_start|>",
         "<TOOLCALL>", "<|function_call|>", "<|tool|>", "<tool_calls>", "<|observation|>", "<channel|>", "</seed:think>", "<think>", "<｜Assistant｜>", "<function_calls>", "<|plugin|>", "<answer>",
         "Here is my thought process:", "<|open|>"]
ENDS = ["<|im_end|>", "</s>", "<|eot_id|>", "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>", "<|end_of_text|>", "<|end|>\n", "<|call|>",
        "<|return|>", "<end_of_turn>", "<seed:eos>", "<|message_sep|>", "<end_of_sentence>", "[e~[", "<SPECIAL_12>", "<sep>", "<turn|>",
        "<|tool_response>", "<|role_end|>", "<|end_of_msg|>", "<|eom_id|>", "</assistant>", "\n<|end|>\n"]


def tool(name, **properties):
    return {"type": "function", "function": {"name": name, "description": "d", "parameters": {
        "type": "object", "properties": {key: {"type": kind} for key, kind in properties.items()}}}}


TOOLS = [tool("get_weather", city="string", days="integer", exact="boolean"), tool("add-up", numbers="array", note="string")]
WEATHER = ("get_weather", {"city": "Köln \"x\" \\ <b>", "days": 3, "exact": True})
ADD = ("add-up", {"numbers": [1, 2.5, -3], "note": "12"})
THOUGHT, CONTENT = "First this.\n\nThen that.", "Let me look."


def messages():
    for thought, content, calls in itertools.product((None, THOUGHT), (None, CONTENT), ((), (WEATHER,), (WEATHER, ADD))):
        if content or calls:
            yield thought, content, calls


def message_of(thought, content, calls, empty):
    message = {"role": "assistant", "content": content if content is not None else empty}
    if thought:
        message |= {"reasoning_content": thought, "thinking": thought}
    if calls:
        message["tool_calls"] = [{"id": f"abcdefgh{i}", "type": "function", "function": {"name": name, "arguments": arguments}}
                                 for i, (name, arguments) in enumerate(calls)]
    return message


def shared(a, b):
    n = 0
    while n < min(len(a), len(b)) and a[n] == b[n]:
        n += 1
    return n


def rendered(template, message):
    """(end of the prompt, answer), or None where the template refuses."""
    given = {"tools": TOOLS, "bos_token": "<s>", "eos_token": "</s>"}
    asked = [{"role": "user", "content": "Hi"}]
    try:
        prompt = template.render(messages=asked, add_generation_prompt=True, **given)
        whole = template.render(messages=asked + [message], add_generation_prompt=False, **given)
    except Exception:  # pylint: disable=broad-except  # whatever a template raises is its refusal
        return None
    same = shared(prompt, whole)
    if prompt[:same].rfind("<") > prompt[:same].rfind(">"):
        same = prompt[:same].rfind("<")  # not within a mark
    answer = whole[same:]
    ends = [answer.find(end) for end in ENDS if end in answer]
    return prompt[:same][-40:], answer[:min(ends)] if ends else answer


def told(part, answer):
    return part is not None and part.strip() in answer


# Forms of their own that are not read: docs/http-api.md does not name them.
UNREAD = ("MiniMax-M3", "muse-glimmer", "tencent-Hy3", "GigaChat3-10B-A1.8B", "meetkai-functionary-medium-v3.2",
          "upstage-Solar-Open-100B", "Apriel-1.6-15b-Thinker-fixed", "llama-cpp-rwkv-world")


def real(folder):
    for path in sorted(folder.glob("*.jinja")):
        if path.stem in UNREAD:
            continue
        source = path.read_text()
        template = environment().from_string(source)
        signs = [sign for sign in SIGNS if sign in source]
        for thought, content, calls in messages():
            for empty in ("", None):
                found = rendered(template, message_of(thought, content, calls, empty))
                if not found or not found[1] or any(name not in found[1] for name, _ in calls):
                    continue
                prompt_end, answer = found
                if prompt_end.rstrip().endswith("<think>") and not told(thought, answer) and "</think>" not in answer:
                    continue  # the prompt began a thought that the message does not have
                if content and not told(thought, answer):  # spaces that stand around a whole message
                    answer = answer.lstrip()
                if not calls:
                    answer = answer.rstrip()
                if "<|channel|>analysis<|message|>" + CONTENT in answer:  # what gpt-oss says before a call is a thought
                    thought, content = CONTENT, None
                yield {"of": path.stem, "signs": signs, "prompt_end": prompt_end, "text": answer,
                       "thought": thought if told(thought, answer) else "", "content": content if told(content, answer) else "",
                       "calls": [{"name": name, "arguments": arguments} for name, arguments in calls]}
                break


def own(name, signs, text, content="", thought="", calls=(), prompt_end="", tools=True):
    return {"of": name, "signs": signs, "prompt_end": prompt_end, "text": text, "thought": thought, "content": content,
            "calls": [{"name": call, "arguments": arguments} for call, arguments in calls], "tools": tools}


HERMES, LLAMA, PYTHONIC = ["<tool_call>"], ["<|python_tag|>"], ["[func_name1("]
RAIN = ("get_weather", {"city": "Ulm"})
JSON_ULM = '{"city": "Ulm"}'
ULM = '{"name": "get_weather", "arguments": {"city": "Ulm"}}'
GLM4, ACTIONS, PHI, KIMI = ["<|observation|>"], ["json-formatted list of actions"], ["<|tool|>"], ["<|tool_calls_section_begin|>"]
GEMMA, INVOKES = ["<|tool_call>", "<channel|>"], ["<minimax:tool_call>"]
NESTED = ("get_weather", {"city": "U{l}m, x:y", "days": None, "in": {"a": [1, {"b": "c"}], "d": []}})
OLDER = [
    own("GLM-4", GLM4, 'get_weather\n{"city": "Ulm"}', calls=[RAIN]),
    own("GLM-4 after a line end", GLM4, '\nget_weather\n{"city": "Ulm"}', calls=[RAIN]),
    own("GLM-4, two", GLM4, 'get_weather\n{"city": "Ulm"}<|assistant|>get_weather\n{"city": "Ulm"}\n', calls=[RAIN, RAIN]),
    own("GLM-4, no tool", GLM4, 'get_water\n{"city": "Ulm"}', 'get_water\n{"city": "Ulm"}'),
    own("GLM-4, a word", GLM4, "get_weather is a tool.", "get_weather is a tool."),
    own("GLM-4, the beginning of a name", GLM4, "get_we", "get_we"),
    own("GLM-4, broken", GLM4, 'get_weather\n{"city": ', 'get_weather\n{"city": '),
    own("GLM-4, more after it", GLM4, 'get_weather\n{"city": "Ulm"} so', 'get_weather\n{"city": "Ulm"} so'),
    own("Command R", ACTIONS, 'Action:\n```json\n[{"tool_name": "get_weather", "parameters": {"city": "Ulm ```"}}]\n```',
        calls=[("get_weather", {"city": "Ulm ```"})]),
    own("Command R on one line", ACTIONS, 'Action: ```json\n[{"tool_name": "get_weather", "parameters": {"city": "Ulm"}}]\n```', calls=[RAIN]),
    own("Command R calls none", ACTIONS, 'Action:\n```json\n[{"tool_name": "directly_answer", "parameters": {}}]\n```'),
    own("Command R, broken", ACTIONS, "Action:\n```json\n[]\n``` x", "Action:\n```json\n[]\n``` x"),
    own("Phi-4", PHI, f"<|tool_call|>[{ULM}]<|/tool_call|>", calls=[RAIN]),
    own("Phi-4, functools", PHI, f"functools[{ULM}]", calls=[RAIN]),
    own("Phi-4, a word", PHI, "import functools", "import functools"),
    own("Phi-4, broken", PHI, "functools[1]", "functools[1]"),
    own("Kimi, no number", KIMI, '<|tool_calls_section_begin|><|tool_call_begin|>get_weather<|tool_call_argument_begin|>{"city": "Ulm"}'
        "<|tool_call_end|><|tool_calls_section_end|>", calls=[RAIN]),
    own("Kimi, broken", KIMI, "<|tool_calls_section_begin|><|tool_call_begin|>x<|tool_calls_section_end|>",
        "<|tool_calls_section_begin|><|tool_call_begin|>x<|tool_calls_section_end|>"),
    own("Gemma, nested", GEMMA, '<|tool_call>call:get_weather{city:<|"|>U{l}m, x:y<|"|>,days:null,in:{a:[1,{b:<|"|>c<|"|>}],d:[]}}<tool_call|>',
        calls=[NESTED]),
    own("Gemma, its older form", ["<start_function_call>"], "<start_function_call>call:get_weather{city:<escape>Ulm<escape>}<end_function_call>",
        calls=[RAIN]),
    own("Gemma, broken", GEMMA, "<|tool_call>call:get_weather{city:}<tool_call|>", "<|tool_call>call:get_weather{city:}<tool_call|>"),
    own("Gemma, too deep", GEMMA, "<|tool_call>call:f" + "{a:" * 200 + "1" + "}" * 200 + "<tool_call|>",
        "<|tool_call>call:f" + "{a:" * 200 + "1" + "}" * 200 + "<tool_call|>"),
    own("MiniMax, broken", INVOKES, '<minimax:tool_call><invoke name="get_weather"><parameter name="city">Ulm</invoke></minimax:tool_call>',
        '<minimax:tool_call><invoke name="get_weather"><parameter name="city">Ulm</invoke></minimax:tool_call>'),
    own("MiniMax, none", INVOKES, '<minimax:tool_call><invoke name="add-up"></invoke></minimax:tool_call>', calls=[("add-up", {})]),
]
OWN = OLDER + [
    own("thoughts begun by the prompt", ["</think>"], "So.\n</think>\n\nYes. ", "Yes. ", "So.", prompt_end="assistant\n<think>\n"),
    own("thoughts without an end", ["</think>"], "<think>\nSo it", "", "So it"),
    own("marks later than the beginning are text", ["</think>"], "Write <think> and </think>.", "Write <think> and </think>."),
    own("spaces stay", [], "  a \n\n b \n", "  a \n\n b \n"),
    own("many spaces stay", HERMES, "a" + " " * 200 + "<tool_call>x</tool_call>", "a" + " " * 200 + "<tool_call>x</tool_call>"),
    own("many spaces before a call stay", HERMES, "a" + " " * 70 + '<tool_call>{"name": "get_weather", "arguments": {"city": "Ulm"}}</tool_call>',
        "a" + " " * 70, calls=[RAIN]),
    own("no tools, no calls", HERMES, '<tool_call>{"name": "f"}</tool_call>', '<tool_call>{"name": "f"}</tool_call>', tools=False),
    own("broken JSON is text", HERMES, 'Now\n<tool_call>\n{"name": "f", "arguments": {\n</tool_call> and on',
        'Now\n<tool_call>\n{"name": "f", "arguments": {\n</tool_call> and on'),
    own("cut off", HERMES, 'Now <tool_call>\n{"name": "get_weather", "argum', 'Now <tool_call>\n{"name": "get_weather", "argum'),
    own("a broken call, then one", HERMES, '<tool_call>no</tool_call>\n<tool_call>{"name": "get_weather", "arguments": {"city": "Ulm"}}</tool_call>',
        "<tool_call>no</tool_call>", calls=[RAIN]),
    own("the mark in an argument", HERMES, '<tool_call>{"name": "get_weather", "arguments": {"city": "</tool_call>"}}</tool_call>',
        calls=[("get_weather", {"city": "</tool_call>"})]),
    own("arguments in a string, none, and text after", HERMES,
        '<tool_call>{"name": "f", "arguments": "{\\"a\\": 1}"}</tool_call>\n<tool_call>{"name": "g"}</tool_call>\nDone.', "Done.",
        calls=[("f", {"a": 1}), ("g", {})]),
    own("half a mark", HERMES, "a <tool_cal", "a <tool_cal"),
    own("bare JSON of a known tool", LLAMA, '{"name": "get_weather", "parameters": {"city": "Ulm"}}', calls=[RAIN]),
    own("two, and the other words for them", LLAMA,
        ' {"type": "function", "function": {"name": "get_weather", "arguments": {"city": "Ulm"}}}; {"type": "function", "name": "add-up", "parameters": {}}',
        calls=[RAIN, ("add-up", {})]),
    own("bare JSON of no tool is text", LLAMA, '{"name": "Anna", "parameters": {}}', '{"name": "Anna", "parameters": {}}'),
    own("other JSON is text", LLAMA, '{"answer": [1, 2]}\n', '{"answer": [1, 2]}\n'),
    own("JSON with words after it is text", LLAMA, '{"name": "get_weather", "parameters": {}} is it', '{"name": "get_weather", "parameters": {}} is it'),
    own("after the tag", LLAMA, '<|python_tag|>{"name": "get_weather", "parameters": {"city": "Ulm"}}', calls=[RAIN]),
    own("Python's", PYTHONIC, "[get_weather(city='Ul\\'m \\u00e9', days=-2, exact=True), add-up(numbers=[1, (2.5, None)], note=\"a\\n\", more={'k': False})]",
        calls=[("get_weather", {"city": "Ul'm é", "days": -2, "exact": True}),
               ("add-up", {"numbers": [1, [2.5, None]], "note": "a\n", "more": {"k": False}})]),
    own("a list is text", PYTHONIC, "[1, 2, 3]", "[1, 2, 3]"),
    own("Python's of no tool is text", PYTHONIC, "[f(x=1)]", "[f(x=1)]"),
    own("Python's that is broken is text", PYTHONIC, "[get_weather(city=Ulm)]", "[get_weather(city=Ulm)]"),
    own("Llama 4's", ["<|python_start|>"], "So: <|python_start|>[get_weather(city=\"Ulm\")]<|python_end|>", "So:", calls=[RAIN]),
    own("with an end", ["<|tool_call|>"], '<|tool_call|>[{"name": "get_weather", "arguments": {"city": "Ulm"}}]<|/tool_call|>', calls=[RAIN]),
    own("Granite's thoughts", ["</think>", "<response>", "<|tool_call|>"], "<think>So.</think><response>Yes.</response>", "Yes.", "So."),
    own("Magistral's", ["[/THINK]", "[TOOL_CALLS]"], '[THINK]So.[/THINK]Yes.[TOOL_CALLS]get_weather[ARGS]{"city": "Ulm"}[TOOL_CALLS]add-up[ARGS]{}',
        "Yes.", "So.", [RAIN, ("add-up", {})]),
    own("DeepSeek V3.1's", ["<｜tool▁calls▁begin｜>", "</think>"],
        "So.</think>Yes.<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{\"city\": \"Ulm\"}<｜tool▁call▁end｜>"
        "<｜tool▁call▁begin｜>add-up<｜tool▁sep｜>{}<｜tool▁call▁end｜><｜tool▁calls▁end｜>", "Yes.", "So.", [RAIN, ("add-up", {})],
        prompt_end="<｜Assistant｜><think>"),
    own("gpt-oss's", ["<|channel|>"],
        "<|channel|>analysis<|message|>So.<|end|><|start|>assistant<|channel|>commentary<|message|>I look.<|end|><|start|>assistant"
        "<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{\"city\": \"Ulm\"}", "I look.", "So.", [RAIN],
        prompt_end="<|start|>assistant"),
    own("gpt-oss's, with an answer", ["<|channel|>"], "<|channel|>analysis<|message|>So. <|end|><|start|>assistant<|channel|>final<|message|> Yes.\n",
        " Yes.\n", "So. ", prompt_end="<|start|>assistant"),
    own("gpt-oss's, broken", ["<|channel|>"], " to=functions.get_weather<|channel|>commentary json<|message|>{\"city\"<|call|>",
        " to=functions.get_weather<|channel|>commentary json<|message|>{\"city\"<|call|>"),
    own("gpt-oss's call without arguments", ["<|channel|>"], " to=functions.f<|channel|>commentary json<|message|><|call|>", calls=[("f", {})]),
    own("gpt-oss's invented result", ["<|channel|>"], "<|start|>functions.f to=assistant<|channel|>commentary<|message|>{\"a\": 1}", '{"a": 1}'),
    own("gpt-oss's thoughts without an end", ["<|channel|>"],
        "<|channel|>analysis<|message|>So.<|channel|>analysis<|message|>Then.<|channel|>final<|message|>Yes.", "Yes.", "So.\nThen."),
    own("Granite's marks in a text", ["</think>", "<response>"], "Put it in a <response> tag, </response> ends it.",
        "Put it in a <response> tag, </response> ends it."),
    own("backticks in DeepSeek's arguments", ["<｜tool▁calls▁begin｜>"],
        "<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>f\n```json\n{\"a\": \"```\"}\n```<｜tool▁call▁end｜><｜tool▁calls▁end｜>",
        calls=[("f", {"a": "```"})]),
    own("a broken call with an odd quote, then one", HERMES,
        '<tool_call>{"name": "f}\n</tool_call>\n<tool_call>{"name": "g"}</tool_call>', '<tool_call>{"name": "f}\n</tool_call>', calls=[("g", {})]),
    own("Qwen3-Coder's values", HERMES,
        "<tool_call>\n<function=get_weather>\n<parameter=city>\n12\n</parameter>\n<parameter=days>\n12\n</parameter>\n<parameter=exact>\nno\n</parameter>\n"
        "<parameter=other>\n[1]\n</parameter>\n</function>\n</tool_call>",
        calls=[("get_weather", {"city": "12", "days": 12, "exact": "no", "other": [1]})]),
    own("GLM's without arguments", HERMES, "<tool_call>get_weather\n</tool_call>", calls=[("get_weather", {})]),
    own("a word is text", HERMES, "<tool_call>weather</tool_call>", "<tool_call>weather</tool_call>"),
    own("two begins, one end", HERMES,
        '<tool_call>{"name": "get_weather", "arguments": {"city": "Ulm"}}\n<tool_call>{"name": "add-up", "arguments": {}}</tool_call> Done.', "Done.",
        calls=[RAIN, ("add-up", {})]),
    own("Qwen3-Coder's without its begin", ["<tool_call>", "<function="],
        "So:\n<function=get_weather>\n<parameter=city>\nUlm\n</parameter>\n</function>\n</tool_call>\nDone.", "So:\nDone.", calls=[RAIN]),
    own("Qwen3-Coder's without its begin and its end", ["<tool_call>", "<function="],
        "<function=get_weather>\n<parameter=city>\nUlm\n</parameter>\n</function>", calls=[RAIN]),
    own("the word for it in a text", ["<tool_call>", "<function="], "Write <function=f> then.", "Write <function=f> then."),
    own("Granite's other mark", ["<|tool_call|>"], 'So <tool_call>[{"name": "get_weather", "arguments": {"city": "Ulm"}}]', "So", calls=[RAIN]),
    own("Granite's other mark, closed", ["<|tool_call|>"], '<tool_call>[{"name": "get_weather", "arguments": {"city": "Ulm"}}]</tool_call>', calls=[RAIN]),
    own("bare list of a known tool", LLAMA, ' [ {"name": "get_weather", "parameters": {"city": "Ulm"}}, {"name": "add-up", "parameters": {}}]',
        calls=[RAIN, ("add-up", {})]),
    own("another bare list is text", LLAMA, '[{"answer": 1}]', '[{"answer": 1}]'),
    own("bare JSON of Llama 4's", ["<|python_start|>"], '{"type": "function", "name": "get_weather", "parameters": {"city": "Ulm"}}', calls=[RAIN]),
    own("a bare call after a thought", ["</think>", "<|python_tag|>"], '<think>So.</think>\n\n{"name": "get_weather", "parameters": {"city": "Ulm"}}',
        thought="So.", calls=[RAIN]),
    own("a list in one mark", HERMES, '<tool_call>[{"name": "f", "arguments": {}}, {"name": "g", "arguments": {}}]</tool_call>',
        calls=[("f", {}), ("g", {})]),
]

CALL = f"<tool_call>{ULM}</tool_call>"
MISTRAL, GRANITE, LFM, OLMO, INTERN = ["[TOOL_CALLS]"], ["<|tool_call|>"], ["<|tool_call_start|>"], ["<function_calls>"], ["<|plugin|>"]
HARMONY, DEEPSEEK = ["<|channel|>"], ["<｜tool▁calls▁begin｜>"]
ROME = '<|channel|>commentary to=functions.get_weather <|constrain|>json<|message|>{"city": "Ulm"}'
BROKEN = '<|channel|>commentary to=functions.f <|constrain|>json<|message|>{"a":"x"'
BROWSER = '<|channel|>analysis to=browser.search code<|message|>{"query": "x"}'


def glm(value):
    return f"<tool_call>get_weather\n<arg_key>city</arg_key>\n<arg_value>{value}</arg_value>\n</tool_call>"


def kimi(arguments, name="functions.get_weather:0"):
    return f"<|tool_call_begin|>{name}<|tool_call_argument_begin|>{arguments}<|tool_call_end|>"


def section(*calls):
    return "<|tool_calls_section_begin|>" + "".join(calls) + "<|tool_calls_section_end|>"


def as_text(name, signs, text, **more):
    return own(name, signs, text, text, **more)


def marked(text):
    return [("get_weather", {"city": text})]


# What is broken, or meant for somebody else, is as the model wrote it.
AS_WRITTEN = [
    as_text("gpt-oss's, broken, with its header", HARMONY, BROKEN),
    as_text("gpt-oss's, broken, with the end of it", HARMONY, BROKEN + "<|call|>"),
    as_text("gpt-oss's, broken, whose role is there", HARMONY, "<|start|>assistant" + BROKEN),
    own("gpt-oss's, broken, between two messages", HARMONY,
        "<|channel|>analysis<|message|>So.<|end|><|start|>assistant" + BROKEN + "<|end|><|start|>assistant<|channel|>final<|message|>Yes.",
        "<|start|>assistant" + BROKEN + "<|end|>\nYes.", "So."),
    own("gpt-oss's, broken, then one", HARMONY, BROKEN + "<|call|>" + ROME, BROKEN + "<|call|>", calls=[RAIN]),
    own("gpt-oss's, cut within a string, then one", HARMONY, BROKEN[:-1] + "<|call|>" + ROME, BROKEN[:-1] + "<|call|>", calls=[RAIN]),
    as_text("gpt-oss's, cut before its arguments", HARMONY, "<|channel|>commentary to=functions.f <|constrain|>json"),
    own("gpt-oss's header, cut", HARMONY, "<|channel|>final<|message|>Yes.<|end|><|start|>assistant<|channel|>ana", "Yes."),
    own("gpt-oss's search is a thought", HARMONY, BROWSER + "<|call|>", "", BROWSER + "<|call|>"),
    own("gpt-oss's search after a thought", HARMONY, "<|channel|>analysis<|message|>So.<|end|><|start|>assistant" + BROWSER, "",
        "So.\n<|start|>assistant" + BROWSER),
    own("gpt-oss's search, and an answer", HARMONY, BROWSER + "<|call|><|start|>assistant<|channel|>final<|message|>Yes.", "Yes.", BROWSER + "<|call|>"),
    as_text("gpt-oss's call to somebody else", HARMONY, '<|channel|>commentary to=container.exec code<|message|>ls'),
    as_text("gpt-oss's call where no tools are", HARMONY, ROME, tools=False),
    own("gpt-oss's call of a tool that has no prefix", HARMONY, ROME.replace("functions.", ""), calls=[RAIN]),
    own("gpt-oss's preamble and answer", HARMONY,
        "<|channel|>commentary<|message|>I look.<|end|><|start|>assistant<|channel|>final<|message|>Done.", "I look.\nDone."),
    own("gpt-oss's preamble that ends with a space", HARMONY,
        "<|channel|>commentary<|message|>I look. <|end|><|start|>assistant<|channel|>final<|message|>Done.", "I look. Done."),
    own("gpt-oss's end in an argument", HARMONY, ROME.replace("Ulm", "<|call|>") + "<|call|>", calls=marked("<|call|>")),
]
# Words on both sides of a call stay apart.
AROUND = [
    own("text around two calls", HERMES, f"pre {CALL} mid {CALL} post", "pre mid post", calls=[RAIN, RAIN]),
    own("lines around a call", HERMES, f"Let me look.\n\n{CALL}\nDone.", "Let me look.\n\nDone.", calls=[RAIN]),
    own("words at a call", HERMES, f"pre{CALL}post", "pre\npost", calls=[RAIN]),
    own("a word before a call", HERMES, f"pre{CALL}  post", "pre  post", calls=[RAIN]),
    own("two calls with a line between them", HERMES, f"pre{CALL}\n{CALL}post", "pre\npost", calls=[RAIN, RAIN]),
    own("a call before a text", HERMES, f" {CALL} post ", "post ", calls=[RAIN]),
    own("a call behind a text", HERMES, f" pre {CALL} ", " pre", calls=[RAIN]),
    own("a call behind many spaces, and a text", HERMES, "a" + " " * 70 + CALL + " b", "a" + " " * 70 + "b", calls=[RAIN]),
    own("a call before many spaces, and a text", HERMES, f"a{CALL}" + " " * 70 + "b", "a" + " " * 64 + "b", calls=[RAIN]),
    own("a call, a broken one and a text", HERMES, f"a {CALL} <tool_call>no</tool_call> b", "a <tool_call>no</tool_call> b", calls=[RAIN]),
    own("Kimi's, with text around it", KIMI, f'pre {section(kimi(JSON_ULM))} post', "pre post", calls=[RAIN]),
    own("Llama 4's, with text around it", ["<|python_start|>"], 'pre <|python_start|>[get_weather(city="Ulm")]<|python_end|> post', "pre post", calls=[RAIN]),
    own("Granite's, with text around it", GRANITE, f"pre <|tool_call|>[{ULM}]<|/tool_call|> post", "pre post", calls=[RAIN]),
]
# Marks of an end within arguments.
WITHIN = [
    own("Kimi's end in an argument", KIMI, section(kimi('{"city": "<|tool_call_end|>"}')), calls=marked("<|tool_call_end|>")),
    own("Kimi's section's end in an argument", KIMI, section(kimi('{"city": "<|tool_calls_section_end|>"}')), calls=marked("<|tool_calls_section_end|>")),
    own("Kimi's section's end in the second call", KIMI, section(kimi(JSON_ULM), kimi('{"city": "<|tool_calls_section_end|>"}')) + " ok", "ok",
        calls=[RAIN] + marked("<|tool_calls_section_end|>")),
    own("LFM's end in an argument", LFM, '<|tool_call_start|>[get_weather(city="]<|tool_call_end|>"), add-up()]<|tool_call_end|>',
        calls=marked("]<|tool_call_end|>") + [("add-up", {})]),
    own("LFM's end after an escape", LFM, "<|tool_call_start|>[get_weather(city='it\\'s <|tool_call_end|>')]<|tool_call_end|>",
        calls=marked("it's <|tool_call_end|>")),
    own("GLM's end in an argument", HERMES, glm("x</tool_call>y"), calls=marked("x</tool_call>y")),
    own("GLM's end without the value's, then a call", HERMES, f"<tool_call>f<arg_key>a</arg_key><arg_value>x</tool_call> so {glm('Ulm')}",
        "<tool_call>f<arg_key>a</arg_key><arg_value>x</tool_call> so", calls=[RAIN]),
    own("GLM's end without the value's, and a text", HERMES, "<tool_call>f<arg_key>a</arg_key><arg_value>x</tool_call> so",
        "<tool_call>f<arg_key>a</arg_key><arg_value>x</tool_call> so"),
    own("a string without an end, then a call", HERMES, '<tool_call>{"name": "f</tool_call> so ' + CALL, '<tool_call>{"name": "f</tool_call> so', calls=[RAIN]),
    own("Qwen3-Coder's end in an argument", HERMES,
        "<tool_call>\n<function=get_weather>\n<parameter=city>\nx</tool_call>y\n</parameter>\n</function>\n</tool_call>", calls=marked("x</tool_call>y")),
    own("MiniMax's end in an argument", INVOKES, '<minimax:tool_call><invoke name="get_weather"><parameter name="city">x</minimax:tool_call>y</parameter>'
        "</invoke></minimax:tool_call>", calls=marked("x</minimax:tool_call>y")),
    own("Gemma's end in an argument", GEMMA, '<|tool_call>call:get_weather{city:<|"|>x<tool_call|>y<|"|>}<tool_call|>', calls=marked("x<tool_call|>y")),
    own("DeepSeek's end in an argument", DEEPSEEK, '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "<｜tool▁call▁end｜>"}'
        "<｜tool▁call▁end｜><｜tool▁calls▁end｜>", calls=marked("<｜tool▁call▁end｜>")),
    own("Mistral's mark in an argument", MISTRAL, '[TOOL_CALLS]get_weather[ARGS]{"city": "[TOOL_CALLS]x[ARGS]"}', calls=marked("[TOOL_CALLS]x[ARGS]")),
]
# Text behind calls that have no mark of their end, and before calls that have no mark.
BEHIND = [
    own("Mistral's list, and a text", MISTRAL, f"[TOOL_CALLS] [{ULM}]\n\nText after", "Text after", calls=[RAIN]),
    own("Mistral's, and a text", MISTRAL, '[TOOL_CALLS]get_weather[ARGS]{"city": "Ulm"} and', "and", calls=[RAIN]),
    own("Mistral's between two texts", MISTRAL, 'So [TOOL_CALLS]get_weather[ARGS]{"city": "Ulm"} and', "So and", calls=[RAIN]),
    own("Mistral's, a text, and another", MISTRAL, '[TOOL_CALLS]get_weather[ARGS]{"city": "Ulm"} and [TOOL_CALLS]add-up[ARGS]{}', "and",
        calls=[RAIN, ("add-up", {})]),
    own("Mistral's, then a broken one", MISTRAL, '[TOOL_CALLS]get_weather[ARGS]{"city": "Ulm"}[TOOL_CALLS]f[ARGS]{"a', '[TOOL_CALLS]f[ARGS]{"a', calls=[RAIN]),
    as_text("Mistral's, broken", MISTRAL, '[TOOL_CALLS]get_weather[ARGS]{"city": "Ulm" and'),
    own("Granite's other mark, and a text", GRANITE, f"<tool_call>[{ULM}]</tool_call> x", "x", calls=[RAIN]),
    own("Granite's other mark, and another", GRANITE, f"<tool_call>[{ULM}]</tool_call> x <tool_call>[{ULM}]", "x", calls=[RAIN, RAIN]),
    own("Python's, and a text", PYTHONIC, '[get_weather(city="Ulm")] trailing', "trailing", calls=[RAIN]),
    own("Python's behind a text", PYTHONIC, 'Text first [get_weather(city="Ulm")]', "Text first", calls=[RAIN]),
    own("Python's behind a list", PYTHONIC, 'See [1] and\n[get_weather(city="Ulm"), add-up()]\n', "See [1] and", calls=[RAIN, ("add-up", {})]),
    as_text("Python's within a text", PYTHONIC, 'Write [get_weather(city="Ulm")] then.'),
    own("Python's within a text, then one", PYTHONIC, 'Not [get_weather(city=Ulm)], but [get_weather(city="Ulm")]', "Not [get_weather(city=Ulm)], but",
        calls=[RAIN]),
    as_text("Python's of no tool behind a text", PYTHONIC, 'Text first [f(city="Ulm")]'),
    own("Llama's behind a text", LLAMA, f"I will call: {ULM}", "I will call:", calls=[RAIN]),
    own("Llama's list behind a text", LLAMA, f"I will call:\n\n[{ULM}, {ULM}]\n", "I will call:", calls=[RAIN, RAIN]),
    as_text("Llama's within a text", LLAMA, f"Write {ULM} then."),
    as_text("Llama's in a fence", LLAMA, f"So:\n```json\n{ULM}\n```"),
    as_text("Llama's of no tool behind a text", LLAMA, 'I will call: {"name": "get_weat", "parameters": {}}'),
    as_text("an object behind a text", LLAMA, 'It is {"name": 1} or { "name" : "get_weather'),
    as_text("many that are none", LLAMA, '{"type": ' * 40),
    own("after the tag, and a text", LLAMA, f"<|python_tag|>{ULM} so", "so", calls=[RAIN]),
    own("MiniCPM's, and a text", ["<function name=\""], '<function name="get_weather"><param name="city">Ulm</param></function> so', "so", calls=[RAIN]),
]
# Answers that end before their marks do: what is complete without them is a call.
CUT = [
    own("Hermes', within its end", HERMES, CALL[:-3], calls=[RAIN]),
    own("Hermes', before its end", HERMES, CALL[:-12], calls=[RAIN]),
    as_text("Hermes', broken, within its end", HERMES, CALL[:-13] + "</tool"),
    as_text("GLM's, behind its name", HERMES, "<tool_call>get_weather"),
    as_text("GLM's, behind a value", HERMES, glm("Ulm")[:-12]),
    as_text("GLM's, within its end", HERMES, glm("Ulm")[:-3]),
    as_text("Qwen3-Coder's, behind a value", HERMES, "<tool_call>\n<function=get_weather>\n<parameter=city>\nUlm\n</parameter>\n"),
    as_text("Mistral's, behind its name", MISTRAL, "[TOOL_CALLS]get_weather"),
    own("DeepSeek's, behind its arguments", DEEPSEEK,
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>function<｜tool▁sep｜>get_weather\n```json\n{"city": "Ulm"}\n```', calls=[RAIN]),
    own("DeepSeek's without the end of the last", DEEPSEEK,
        '<｜tool▁calls▁begin｜><｜tool▁call▁begin｜>get_weather<｜tool▁sep｜>{"city": "Ulm"}<｜tool▁calls▁end｜>', calls=[RAIN]),
    own("Kimi's, behind its arguments", KIMI, section(kimi(JSON_ULM).removesuffix("<|tool_call_end|>")).removesuffix("<|tool_calls_section_end|>"), calls=[RAIN]),
    own("Mistral's without its mark", MISTRAL, 'So.[TOOL_CALLS]get_weather{"city": "Ulm"}[TOOL_CALLS]add-up {}', "So.", calls=[RAIN, ("add-up", {})]),
    as_text("Mistral's without its mark, of no tool", MISTRAL, '[TOOL_CALLS]f{"city": "Ulm"}'),
    as_text("Mistral's without its mark, broken", MISTRAL, '[TOOL_CALLS]get_weather{"city": "Ulm"'),
]
# Arguments that are as the model wrote them; those that the reader of the fixture has no value for are given as text.
ARGUMENTS = [
    own("an integer past 64 bits", HERMES, '<tool_call>{"name": "f", "arguments": {"n": 123456789012345678901234567890}}</tool_call>',
        calls=[("f", '{"n": 123456789012345678901234567890}')]),
    own("a number past doubles", HERMES, '<tool_call>{"name": "f", "arguments": {"n": 1e999}}</tool_call>', calls=[("f", '{"n": 1e999}')]),
    own("members of one name", HERMES, '<tool_call>{"name": "f", "arguments": {"n": 1, "n": 2}}</tool_call>', calls=[("f", {"n": 2})]),
    own("arguments that are null", HERMES, '<tool_call>{"name": "f", "arguments": null}</tool_call>', calls=[("f", {})]),
    own("arguments that are an empty text", HERMES, '<tool_call>{"name": "f", "arguments": ""}</tool_call>', calls=[("f", {})]),
    own("half a character", HERMES, '<tool_call>{"name": "f", "arguments": {"a": "\\ud83d"}}</tool_call>', calls=[("f", '{"a": "\\ud83d"}')]),
    own("a large integer in a string of arguments", HERMES, '<tool_call>{"name": "f", "arguments": "{\\"n\\": 99999999999999999999}"}</tool_call>',
        calls=[("f", '{"n": 99999999999999999999}')]),
    own("GLM's large integer", HERMES, glm("99999999999999999999").replace("city", "days"), calls=[("get_weather", '{"days": 99999999999999999999}')]),
    own("Mistral's large integer", MISTRAL, '[TOOL_CALLS]f[ARGS]{"n": 99999999999999999999}', calls=[("f", '{"n": 99999999999999999999}')]),
    own("gpt-oss's large integer", HARMONY, ROME.replace('"Ulm"', "99999999999999999999"), calls=[("get_weather", '{"city": 99999999999999999999}')]),
    own("Gemma's large integer", GEMMA, "<|tool_call>call:f{n:99999999999999999999}<tool_call|>", calls=[("f", '{"n": 99999999999999999999}')]),
    as_text("arguments that are a list", HERMES, '<tool_call>{"name": "f", "arguments": [1]}</tool_call>'),
    as_text("a number that is none", HERMES, '<tool_call>{"name": "f", "arguments": {"a": 01}}</tool_call>'),
    as_text("an escape that is none", HERMES, '<tool_call>{"name": "f", "arguments": {"a": "\\x"}}</tool_call>'),
    as_text("a comma at the end", HERMES, '<tool_call>{"name": "f", "arguments": {"a": 1,}}</tool_call>'),
    as_text("arguments too deep", HERMES, '<tool_call>{"name": "f", "arguments": {"a": ' + "[" * 70 + "]" * 70 + "}}</tool_call>"),
]


def python(name, source, arguments):
    return own("Python's " + name, PYTHONIC, f"[get_weather({source})]", calls=[("get_weather", arguments)])


VALUES = [
    python("strings side by side", "city='U' \"l\"\n 'm'", {"city": "Ulm"}),
    python("string in three quotes", 'city="""a "b" \'c\'\nd\\te"""', {"city": "a \"b\" 'c'\nd\te"}),
    python("empty strings", "city='', note=\"\"", {"city": "", "note": ""}),
    python("raw string", "city=r'C:\\new' R\"\\d\\\"\"", {"city": 'C:\\new\\d\\"'}),
    python("other prefix", "city=u'Ulm'", {"city": "Ulm"}),
    python("numbers of other bases", "a=0x10, b=0o17, c=0b101, d=-0XfF, e=1_000", {"a": 16, "b": 15, "c": 5, "d": -255, "e": 1000}),
    python("numbers with a point", "a=.5, b=2., c=-1.5e3, d=1E-2, e=+3", {"a": 0.5, "b": 2.0, "c": -1.5e3, "d": 0.01, "e": 3}),
    python("large integer", "a=123456789012345678901234567890", '{"a": 123456789012345678901234567890}'),
    python("tuples", "a=(1, 2), b=(1,), c=(), d=(1), e=((('x')))", {"a": [1, 2], "b": [1], "c": [], "d": 1, "e": "x"}),
    python("character of two halves", "city='\\ud83d\\ude00'", {"city": "\U0001f600"}),
    as_text("Python's bytes", PYTHONIC, "[get_weather(city=b'x')]"),
    as_text("Python's place for a value", PYTHONIC, "[get_weather('x')]"),
    as_text("Python's number that is none", PYTHONIC, "[get_weather(a=0x)]"),
    as_text("Python's number and a half", PYTHONIC, "[get_weather(a=1.2.3)]"),
]
FAMILIES = [
    own("OLMo 3", OLMO, '<function_calls>\nget_weather(city="Ulm")\n</function_calls>', calls=[RAIN]),
    own("OLMo 3, two, and words around them", OLMO,
        'So:\n<function_calls>get_weather(city="Ulm")\nadd-up(numbers=[1, null, true])</function_calls>\nDone.', "So:\nDone.",
        calls=[RAIN, ("add-up", {"numbers": [1, None, True]})]),
    own("OLMo 3, its end in an argument", OLMO, '<function_calls>\nget_weather(city="</function_calls>")\n</function_calls>', calls=marked("</function_calls>")),
    as_text("OLMo 3, no tool", OLMO, "<function_calls>\nf(x=1)\n</function_calls>"),
    as_text("OLMo 3, broken", OLMO, "<function_calls>\nget_weather(city=Ulm)\n</function_calls>"),
    own("Hunyuan", ["</think>", "<tool_calls>", "<answer>"], f"<think>\nSo.\n</think>\n<answer>\n<tool_calls>[{ULM}, {ULM}]</tool_calls>\n</answer>", "",
        "So.", [RAIN, RAIN]),
    own("Hunyuan's answer", ["</think>", "<tool_calls>", "<answer>"], "<think>\n\n</think>\n<answer>\nYes.\n</answer>", "Yes."),
    own("InternLM2", INTERN, 'So.<|action_start|><|plugin|>\n{"name": "get_weather", "parameters": {"city": "Ulm"}}<|action_end|>\n', "So.", calls=[RAIN]),
    own("InternLM2 with a space", INTERN, '<|action_start|> <|plugin|>{"name": "get_weather", "parameters": {"city": "Ulm"}}<|action_end|>', calls=[RAIN]),
    own("Kimi K3's arguments in one", ["<|open|>"], '<|open|>tools<|sep|><|open|>call tool="get_weather" index="1"<|sep|><|open|>json type="object"<|sep|>'
        '{"city": "Ulm"}<|close|>json<|sep|><|close|>call<|sep|><|close|>tools<|sep|><|close|>message<|sep|>', calls=[RAIN]),
    own("Kimi K3's end in an argument", ["<|open|>"], '<|open|>tools<|sep|><|open|>call tool="get_weather" index="1"<|sep|>'
        '<|open|>argument key="city" type="string"<|sep|>x<|close|>tools<|sep|>y<|close|>argument<|sep|><|close|>call<|sep|><|close|>tools<|sep|>',
        calls=marked("x<|close|>tools<|sep|>y")),
    as_text("Kimi K3's, broken", ["<|open|>"], '<|open|>tools<|sep|><|open|>call tool="get_weather"<|close|>tools<|sep|>'),
    as_text("InternLM2's code", INTERN, "<|action_start|><|interpreter|>print(1)<|action_end|>"),
]
R1, GRANITE32 = ["</think>", "<｜Assistant｜>"], ["Here is my thought process:"]
THOUGHTS = [
    own("R1's, which it did not begin", R1, "First this.</think>Hello", "Hello", "First this."),
    own("R1's, which it began", R1, "<think>\nFirst this.\n</think>\n\nHello", "Hello", "First this."),
    own("R1's, empty", R1, "<think>\n\n</think>\n\nHello", "Hello"),
    own("R1's, cut", R1, "First this", "", "First this"),
    own("R1's later template begins none by itself", R1 + ["<think>"], "Hello", "Hello"),
    own("a thought that another family did not begin", ["</think>", "<think>"], "First this.</think>Hello", "First this.</think>Hello"),
    own("two thoughts", ["</think>"], "<think>a</think><think>b</think>c", "c", "a\nb"),
    own("two thoughts with a line between them", ["</think>"], "<think>a</think>\n\n<think>b</think>c", "c", "a\n\nb"),
    own("a thought begun twice", ["</think>"], "<think>\nSo.</think>Yes.", "Yes.", "So.", prompt_end="assistant\n<think>\n"),
    own("a thought after an answer is text", ["</think>"], "a<think>b</think>", "a<think>b</think>"),
    own("a call in a thought", ["</think>", "<tool_call>"], f"<think>So {CALL} it", "", f"So {CALL} it"),
    own("a call in a thought, then one", ["</think>", "<tool_call>"], f"<think>So {CALL}</think>\n{CALL}", "", f"So {CALL}", [RAIN]),
    own("a thought after a call", ["</think>", "<tool_call>"], f"<think>a</think>{CALL}<think>b</think>c", "c", "a\nb", [RAIN]),
    own("Granite 3.2's", GRANITE32, "Here is my thought process:\n\nSo it is.\n\nHere is my response:\n\nYes.", "Yes.", "So it is."),
    own("Granite 3.2's other words", GRANITE32, "Here's my thought process: So. Here's my response: Yes.", "Yes.", "So."),
    own("Granite 3.2's, cut", GRANITE32, "Here is my thought process: So it", "", "So it"),
    own("Granite 3.2's words in a text", GRANITE32, "Well. Here is my thought process: none. Here is my response: no.",
        "Well. Here is my thought process: none. Here is my response: no."),
    own("Granite 3.2 says here", GRANITE32, "Here is my answer", "Here is my answer"),
]
OWN += AS_WRITTEN + AROUND + WITHIN + BEHIND + CUT + ARGUMENTS + VALUES + FAMILIES + THOUGHTS


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--templates", type=pathlib.Path, required=True)
    cases = list(real(parser.parse_args().templates)) + OWN
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    OUT.write_text(f'{{"tools": {json.dumps(TOOLS)},\n"cases": [\n{lines}\n]}}\n')
    print(f"{len(cases)} cases, {len(OWN)} of them own; templates: {sorted({case['of'] for case in cases[:len(cases) - len(OWN)]})}")


if __name__ == "__main__":
    main()
