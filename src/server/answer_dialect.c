/* Two tables, looked through in order. Marks are facts of the models' published templates and documentation. */
#include "server/answer_dialect.h"

#include <stddef.h>

static const struct thought_marks thoughts[] = {
    {.sign = "<|END_THINKING|>",
     .begin = "<|START_THINKING|>",
     .end = "<|END_THINKING|>",
     .dropped = {"<|START_RESPONSE|>", "<|END_RESPONSE|>"},
     .special = true},
    {.sign = "[/THINK]", .begin = "[THINK]", .end = "[/THINK]", .special = true},
    {.sign = "<response>", .begin = "<think>", .end = "</think>", .dropped = {"<response>", "</response>"}},
    {.sign = "</think>", .begin = "<think>", .end = "</think>"},
};

/* The last is that of templates which teach none. */
static const struct call_marks calls[] = {
    {"command", "<|START_ACTION|>", {{"<|START_ACTION|>", "<|END_ACTION|>", false}}, NULL},
    {"deepseek", "<｜tool▁calls▁begin｜>", {{"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", false}}, NULL},
    {"mistral", "[TOOL_CALLS]", {{"[TOOL_CALLS]", NULL, false}}, NULL},
    {"granite", "<|tool_call|>", {{"<|tool_call|>", "<|/tool_call|>", false}, {"<tool_call>", NULL, false}}, NULL},
    {"llama4", "<|python_start|>", {{"<|python_start|>", "<|python_end|>", false}}, "[{"},
    {"pythonic", "[func_name1(", {{"<|python_tag|>", NULL, false}}, "["},
    {"coder", "<function=", {{"<tool_call>", "</tool_call>", false}, {"<function=", "</tool_call>", true}}, NULL},
    {"tagged", "<tool_call>", {{"<tool_call>", "</tool_call>", false}}, NULL},
    {"llama", "<|python_tag|>", {{"<|python_tag|>", NULL, false}}, "{["},
    {"llama", "\"parameters\": ", {{"<|python_tag|>", NULL, false}}, "{["},
    {"tagged", "", {{"<tool_call>", "</tool_call>", false}}, NULL},
};

static bool teaches(struct slice template, const char *sign) {
  return memmem(template.data ? (const void *)template.data : "", template.size, sign, strlen(sign)) != NULL;
}

struct answer_dialect answer_dialect_of(struct slice template) {
  struct answer_dialect dialect = {.channels = teaches(template, "<|channel|>")};
  for (size_t i = 0; i < sizeof thoughts / sizeof *thoughts && !dialect.thoughts; i++)
    if (teaches(template, thoughts[i].sign)) dialect.thoughts = &thoughts[i];
  for (size_t i = 0; i < sizeof calls / sizeof *calls && !dialect.calls; i++)
    if (teaches(template, calls[i].sign)) dialect.calls = &calls[i];
  return dialect;
}
