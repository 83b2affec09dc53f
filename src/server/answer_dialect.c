/* Two tables, looked through in order. Marks are facts of the models' published templates and documentation. */
#include "server/answer_dialect.h"

#include <stddef.h>

static const struct thought_marks thoughts[] = {
    {.sign = "<|START_TEXT|>",
     .begins = {"<|START_THINKING|>"},
     .ends = {"<|END_THINKING|>"},
     .dropped = {"<|START_TEXT|>", "<|END_TEXT|>"},
     .special = true},
    {.sign = "<|END_THINKING|>",
     .begins = {"<|START_THINKING|>"},
     .ends = {"<|END_THINKING|>"},
     .dropped = {"<|START_RESPONSE|>", "<|END_RESPONSE|>"},
     .special = true},
    {.sign = "<|open|>",
     .begins = {"<|open|>think<|sep|>"},
     .ends = {"<|close|>think<|sep|>"},
     .dropped = {"<|open|>response<|sep|>", "<|close|>response<|sep|>", "<|close|>message<|sep|>"},
     .special = true},
    {.sign = "[/THINK]", .begins = {"[THINK]"}, .ends = {"[/THINK]"}, .special = true},
    {.sign = "<channel|>", .begins = {"<|channel>thought"}, .ends = {"<channel|>"}, .special = true},
    {.sign = "</seed:think>", .begins = {"<seed:think>"}, .ends = {"</seed:think>"}},
    {.sign = "<response>", .begins = {"<think>"}, .ends = {"</think>"}, .dropped = {"<response>", "</response>"}},
    {.sign = "<answer>", .begins = {"<think>"}, .ends = {"</think>"}, .dropped = {"<answer>", "</answer>"}},
    {.sign = "</think>", .begins = {"<think>"}, .ends = {"</think>"}},
    {.sign = "Here is my thought process:",
     .begins = {"Here is my thought process:", "Here's my thought process:"},
     .ends = {"Here is my response:", "Here's my response:"}},
};

/* The last is that of templates which teach none. */
static const struct call_marks calls[] = {
    {"command", "<|START_ACTION|>", {{"<|START_ACTION|>", "<|END_ACTION|>", false}}, NULL},
    {"actions",
     "json-formatted list of actions",
     {{"Action:\n```json", "```", false}, {"Action: ```json", "```", false}},
     NULL},
    {"kimi",
     "<|tool_calls_section_begin|>",
     {{"<|tool_calls_section_begin|>", "<|tool_calls_section_end|>", false}},
     NULL},
    {"kimi3", "<|open|>", {{"<|open|>tools<|sep|>", "<|close|>tools<|sep|>", false}}, NULL},
    {"gemma", "<|tool_call>", {{"<|tool_call>", "<tool_call|>", false}}, NULL},
    {"gemma", "<start_function_call>", {{"<start_function_call>", "<end_function_call>", false}}, NULL},
    {"dsml",
     "｜DSML｜",
     {{"<｜DSML｜function_calls>", "</｜DSML｜function_calls>", false},
      {"<｜DSML｜tool_calls>", "</｜DSML｜tool_calls>", false}},
     NULL},
    {"minimax", "<minimax:tool_call>", {{"<minimax:tool_call>", "</minimax:tool_call>", false}}, NULL},
    {"seed", "<seed:tool_call>", {{"<seed:tool_call>", "</seed:tool_call>", false}}, NULL},
    {"minicpm", "<function name=\"", {{"<function name=\"", NULL, true}}, NULL},
    {"apertus", "<|tools_prefix|>", {{"<|tools_prefix|>", "<|tools_suffix|>", false}}, NULL},
    {"lfm", "<|tool_call_start|>", {{"<|tool_call_start|>", "<|tool_call_end|>", false}}, NULL},
    {"intern",
     "<|plugin|>",
     {{"<|action_start|><|plugin|>", "<|action_end|>", false},
      {"<|action_start|> <|plugin|>", "<|action_end|>", false}},
     NULL},
    {"olmo", "<function_calls>", {{"<function_calls>", "</function_calls>", false}}, NULL},
    {"nemotron", "<TOOLCALL>", {{"<TOOLCALL>", "</TOOLCALL>", false}}, NULL},
    {"gigachat", "<|function_call|>", {{"<|function_call|>", NULL, false}}, NULL},
    {"phi", "<|tool|>", {{"<|tool_call|>", "<|/tool_call|>", false}, {"functools[", NULL, true}}, NULL},
    {"listed", "<tool_calls>", {{"<tool_calls>", "</tool_calls>", false}}, NULL},
    {"deepseek", "<｜tool▁calls▁begin｜>", {{"<｜tool▁calls▁begin｜>", "<｜tool▁calls▁end｜>", false}}, NULL},
    {"mistral", "[TOOL_CALLS]", {{"[TOOL_CALLS]", NULL, false}}, NULL},
    {"granite", "<|tool_call|>", {{"<|tool_call|>", "<|/tool_call|>", false}, {"<tool_call>", NULL, false}}, NULL},
    {"llama4", "<|python_start|>", {{"<|python_start|>", "<|python_end|>", false}}, "[{"},
    {"pythonic", "[func_name1(", {{"<|python_tag|>", NULL, false}}, "["},
    {"coder", "<function=", {{"<tool_call>", "</tool_call>", false}, {"<function=", "</tool_call>", true}}, NULL},
    {"tagged", "<tool_call>", {{"<tool_call>", "</tool_call>", false}}, NULL},
    {"lines", "<|observation|>", {{NULL, NULL, false}}, "\n"},
    {"llama", "<|python_tag|>", {{"<|python_tag|>", NULL, false}}, "{["},
    {"llama", "\"parameters\": ", {{"<|python_tag|>", NULL, false}}, "{["},
    {"tagged", "", {{"<tool_call>", "</tool_call>", false}}, NULL},
};

static bool teaches(struct slice template, const char *sign) {
  return memmem(template.data ? (const void *)template.data : "", template.size, sign, strlen(sign)) != NULL;
}

struct answer_dialect answer_dialect_of(struct slice template) {
  /* DeepSeek-R1's and those taught by it: their first templates only take the thought off what was answered before. */
  bool thinks = teaches(template, "<｜Assistant｜>") && teaches(template, "</think>") && !teaches(template, "<think>");
  struct answer_dialect dialect = {.channels = teaches(template, "<|channel|>"), .thinks = thinks};
  for (size_t i = 0; i < sizeof thoughts / sizeof *thoughts && !dialect.thoughts; i++)
    if (teaches(template, thoughts[i].sign)) dialect.thoughts = &thoughts[i];
  for (size_t i = 0; i < sizeof calls / sizeof *calls && !dialect.calls; i++)
    if (teaches(template, calls[i].sign)) dialect.calls = &calls[i];
  return dialect;
}
