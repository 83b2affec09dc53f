#!/usr/bin/env python3
"""Chat templates rendered here and by jinja2, for a chat of 20 messages: bench_chat_template TEMPLATES

    python3 bench/templates_vs_jinja2.py build/release/bench/bench_chat_template FOLDER_OF_TEMPLATES

By turns, three rounds: the median of each and of their ratios. Wanted: 200 us at most.
"""

import copy
import json
import pathlib
import re
import statistics
import subprocess
import sys
import tempfile
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / "tools"))
import make_chat_fixtures as chat  # noqa: E402

TURNS = [turn for i in range(10) for turn in
         (chat.user(f"Question {i}: what is the capital of country number {i}, and how many people live in it? " * 3),
          chat.assistant(f"Answer {i}: it is the town of that name; some {i + 1} million people live there. " * 5))]
CONVERSATION = {"messages": [chat.system("You are a helpful assistant.")] + TURNS[:18] + [chat.user("And now?")],
                "tools": [chat.WEATHER], "add_generation_prompt": True}


def ours(program, conversation, templates):
    lines = subprocess.run([program, conversation, *map(str, templates)], capture_output=True, text=True, check=True).stdout
    found = re.findall(r"^(\S+): ([\d.]+) us", lines, re.MULTILINE)
    return {pathlib.Path(path).stem: float(value) for path, value in found}


def peers(templates):
    env, times = chat.environment(), {}
    for path in templates:
        template = env.from_string(path.read_text())
        values = []
        for _ in range(21):
            conversation = copy.deepcopy(CONVERSATION)
            start = time.process_time()
            try:
                template.render(documents=None, **chat.TOKENS, **conversation)
            except Exception:  # the template's refusal: it is not compared
                break
            values.append(1e6 * (time.process_time() - start))
        if values:
            times[path.stem] = statistics.median(values)
    return times


def main():
    program, folder = sys.argv[1], pathlib.Path(sys.argv[2])
    templates = sorted(folder.glob("*.jinja"))
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(CONVERSATION, file)
        file.flush()
        rounds = [(ours(program, file.name, templates), peers(templates)) for _ in range(3)]
    for path in templates:
        pairs = [(mine[path.stem], other[path.stem]) for mine, other in rounds if path.stem in mine and path.stem in other]
        if not pairs:
            print(f"{path.stem}: refuses the conversation")
            continue
        print(f"{path.stem}: {statistics.median(a for a, _ in pairs):.0f} us, jinja2 {statistics.median(b for _, b in pairs):.0f} us, "
              f"{statistics.median(b / a for a, b in pairs):.1f} x")


if __name__ == "__main__":
    main()
