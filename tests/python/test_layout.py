"""The structs of the package against include/spate.h: the C compiler says where each member is, and how large all is."""
import ctypes
import dataclasses
import inspect
import re
import shutil
import subprocess
import unittest

import spate_python
from spate import _library, errors, llm

INCLUDE = spate_python.ROOT / "include"


def compiles(text):
    command = ["cc", "-std=c17", "-fsyntax-only", "-I", INCLUDE, "-x", "c", "-"]
    return subprocess.run(command, input=text, capture_output=True, text=True)


class Layout(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        if not shutil.which("cc"):
            raise unittest.SkipTest("SKIPPED: there is no cc to say what the header means")

    def asserts(self, wrong=0):
        lines = ['#include "spate.h"']
        for name, struct in _library.STRUCTS.items():
            lines.append(f'_Static_assert(sizeof({name}) == {ctypes.sizeof(struct) + wrong}, "{name}");')
            for member, _ in struct._fields_:
                place = getattr(struct, member)
                for what, value in ((f"offsetof({name}, {member})", place.offset),
                                    (f"sizeof((({name} *)0)->{member})", place.size)):
                    lines.append(f'_Static_assert({what} == {value + wrong}, "{name}.{member}");')
        return "\n".join(lines)

    def test_structs(self):
        answer = compiles(self.asserts())
        self.assertEqual(answer.returncode, 0, answer.stderr)
        self.assertNotEqual(compiles(self.asserts(wrong=1)).returncode, 0)  # the compiler does look

    def test_enums(self):
        pairs = {f"SPATE_{code.name}": code for code in errors.Code}
        pairs |= {f"SPATE_{kind}": getattr(_library, kind) for kind in ("TEXT", "DONE", "FAILED", "PROMPT")}
        pairs |= {f"SPATE_FINISH_{kind}": getattr(_library, kind) for kind in ("STOP", "LENGTH", "CANCELLED")}
        pairs |= {f"SPATE_{kind}": getattr(_library, kind) for kind in ("TASK_GENERATE", "TASK_EMBED", "TASK_CLASSIFY", "COSINE", "DOT", "EUCLIDEAN", "MANHATTAN")}
        lines = [f'_Static_assert({name} == {int(value)}, "{name}");' for name, value in pairs.items()]
        answer = compiles("\n".join(['#include "spate.h"', *lines]))
        self.assertEqual(answer.returncode, 0, answer.stderr)

    def test_options_are_arguments(self):
        """Each option of serve that is about its engine, by the same name, also in docs/python.md."""
        room = spate_python.ROOT / "src/cli"
        names = dict(re.findall(r'\{"([a-z-]+)", \S+, OPTION_\w+, [^,]+?, (?:PLAIN|MARKED)\((\w+)\)', (room / "option.c").read_text()))
        fill = "".join(re.findall(r"^(?:static )?void (?:adapters_fill|images_fill|open_options_fill)\(.*?^\}", (room / "main.c").read_text(), re.M | re.S))
        filled = set(re.findall(r"= s->(\w+);", fill))
        options = {name.replace("-", "_") for name, field in names.items() if field in filled} - {"model"}
        options |= {"enable_block_reuse"}  # no_block_reuse without the flag's prefix
        of_cache = {{"memory": "kv_cache_memory", "dtype": "kv_cache_dtype"}.get(field.name, field.name)
                    for field in dataclasses.fields(llm.KvCacheConfig)}
        arguments = set(inspect.signature(llm.LLM).parameters) | of_cache | set(inspect.signature(llm.LoraManager).parameters)
        arguments |= {"max_lora_rank"} if "adapter_dim" in arguments else set()  # two names of one
        self.assertGreater(len(options), 15)
        self.assertEqual(options - arguments - {"no_enable_block_reuse"}, set())
        page = (spate_python.ROOT / "docs/python.md").read_text()
        for name in options & set(inspect.signature(llm.LLM).parameters):
            self.assertIn(f"`{name}`", page)

    def test_functions_exist(self):
        listed = (INCLUDE / "spate.symbols").read_text().split()
        self.assertLessEqual(set(_library.FUNCTIONS), set(listed))

    def test_arguments_are_as_many(self):
        header = "".join((INCLUDE / name).read_text() for name in ("spate.h", "spate_embed.h", "spate_image.h", "spate_lora.h", "spate_text.h", "spate_tools.h"))
        for name, (_, arguments) in _library.FUNCTIONS.items():
            declared = re.search(rf"^SPATE_API [^;]*?\b{name}\((.*?)\);", header, re.M | re.S).group(1)
            declared = re.sub(r"\(\*(write|visit)\)\(.*?\)", "call", declared, flags=re.S)
            self.assertEqual(len(arguments), 0 if declared == "void" else declared.count(",") + 1, name)


if __name__ == "__main__":
    spate_python.main(__name__)
