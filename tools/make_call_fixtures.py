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
         "<TOOLCALL>", "<|function_call|>", "<|tool|>", "<tool_calls>", "<|observation|>", "<channel|>", "</seed:think>"]
ENDS = ["<|im_end|>", "</s>", "<|eot_id|>", "<|END_OF_TURN_TOKEN|>", "<｜end▁of▁sentence｜>", "<|end_of_text|>", "<|end|>\n", "<|call|>",
        "<|return|>", "<end_of_turn>", "<seed:eos>", "<|message_sep|>", "<end_of_sentence>", "[e~[", "<SPECIAL_12>", "<sep>", "<turn|>",
        "<|tool_response>", "<|role_end|>", "<|eom_id|>", "</assistant>", "\n<|end|>\n"]


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
UNREAD = ("Kimi-K3", "MiniMax-M3", "muse-glimmer", "tencent-Hy3", "GigaChat3-10B-A1.8B", "meetkai-functionary-medium-v3.2",
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
    own("gpt-oss's, broken", ["<|channel|>"], " to=functions.get_weather<|channel|>commentary json<|message|>{\"city\"<|call|>", '{"city"'),
    own("gpt-oss's call without arguments", ["<|channel|>"], " to=functions.f<|channel|>commentary json<|message|><|call|>", calls=[("f", {})]),
    own("gpt-oss's invented result", ["<|channel|>"], "<|start|>functions.f to=assistant<|channel|>commentary<|message|>{\"a\": 1}", '{"a": 1}'),
    own("gpt-oss's thoughts without an end", ["<|channel|>"],
        "<|channel|>analysis<|message|>So.<|channel|>analysis<|message|>Then.<|channel|>final<|message|>Yes.", "Yes.", "So.Then."),
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
        "So:\n<function=get_weather>\n<parameter=city>\nUlm\n</parameter>\n</function>\n</tool_call>\nDone.", "So:Done.", calls=[RAIN]),
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--templates", type=pathlib.Path, required=True)
    cases = list(real(parser.parse_args().templates)) + OWN
    lines = ",\n".join(json.dumps(case, ensure_ascii=False) for case in cases)
    OUT.write_text(f'{{"tools": {json.dumps(TOOLS)},\n"cases": [\n{lines}\n]}}\n')
    print(f"{len(cases)} cases, {len(OWN)} of them own; templates: {sorted({case['of'] for case in cases[:len(cases) - len(OWN)]})}")


if __name__ == "__main__":
    main()
