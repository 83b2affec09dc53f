/* What a model may write: the first byte chooses the marks of its template, the second the pieces in which the rest
 * comes. Whatever the pieces, the parts are the same. */
#include "server/answer_parts.h"
#include "server/call_json.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct heard {
  struct buffer text[2];
  json_t *calls;
};

static bool text_hear(void *user, enum answer_part part, struct slice text) {
  struct heard *heard = user;
  return buffer_append(&heard->text[part == PART_THOUGHT], text.data, text.size);
}

static bool call_hear(void *user, struct slice name, struct slice arguments) {
  struct heard *heard = user;
  json_t *call = json_pack("{s:s%,s:s%}", "name", name.data, name.size, "arguments", arguments.data, arguments.size);
  if (name.size == 0 || arguments.data[0] != '{' || call_json_value(arguments) != arguments.size) abort();
  return !call || json_array_append_new(heard->calls, call) == 0; /* a name may be no UTF-8: engines' texts are */
}

static void take_apart(struct answer_dialect dialect, const json_t *tools, const char *prompt_end, struct slice text,
                       size_t piece, struct heard *heard) {
  struct answer_parts parts;
  buffer_init(&heard->text[0], 1 << 20);
  buffer_init(&heard->text[1], 1 << 20);
  heard->calls = json_array();
  answer_parts_init(&parts, dialect, tools, slice_text(prompt_end),
                    (struct part_sink){.text = text_hear, .call = call_hear, .user = heard});
  for (size_t at = 0; at < text.size; at += piece)
    if (!answer_parts_take(&parts, slice_make(text.data + at, text.size - at < piece ? text.size - at : piece)))
      abort();
  if (!answer_parts_end(&parts)) abort();
  answer_parts_release(&parts);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  static const char *const templates[] = {"<tool_call>",
                                          "</think><tool_call>",
                                          "<|START_ACTION|><|END_THINKING|>",
                                          "<｜tool▁calls▁begin｜></think>",
                                          "[TOOL_CALLS]",
                                          "[/THINK][TOOL_CALLS]",
                                          "<|tool_call|></think><response>",
                                          "<|python_start|>",
                                          "[func_name1(",
                                          "<|python_tag|>",
                                          "<|channel|>",
                                          "<|observation|>",
                                          "json-formatted list of actions",
                                          "<|tool|>",
                                          "<|tool_calls_section_begin|>",
                                          "<|tool_call><channel|>",
                                          "<minimax:tool_call>",
                                          "｜DSML｜",
                                          "<function name=\"",
                                          "",
                                          "<function_calls>",
                                          "<|plugin|>",
                                          "</think><tool_calls><answer>",
                                          "<｜Assistant｜></think>",
                                          "Here is my thought process:",
                                          "<|tool_call_start|>",
                                          "<tool_call><function=",
                                          "<start_function_call>",
                                          "<|open|>"};
  if (size < 2) return 0;
  struct heard whole, cut;
  struct answer_dialect dialect =
      answer_dialect_of(slice_text(templates[data[0] % (sizeof templates / sizeof *templates)]));
  json_t *tools = json_pack("[{s:{s:s,s:{s:{s:{s:s}}}}}]", "function", "name", "f", "parameters", "properties", "a",
                            "type", "string");
  struct slice text = slice_make(data + 2, size - 2);
  const char *prompt_end = data[1] & 0x80 ? "" : "<think>"; /* who begins the thought */
  take_apart(dialect, tools, prompt_end, text, size, &whole);
  take_apart(dialect, tools, prompt_end, text, 1 + data[1] % 7, &cut);
  for (int i = 0; i < 2; i++) {
    if (!slice_equal(buffer_slice(&whole.text[i]), buffer_slice(&cut.text[i]))) abort();
    buffer_release(&whole.text[i]);
    buffer_release(&cut.text[i]);
  }
  char *of_whole = json_dumps(whole.calls, 0), *of_cut = json_dumps(cut.calls, 0);
  if (of_whole && of_cut && strcmp(of_whole, of_cut) != 0) abort(); /* json_equal knows no U+0000 in names */
  free(of_whole);
  free(of_cut);
  json_decref(whole.calls);
  json_decref(cut.calls);
  json_decref(tools);
  return 0;
}
