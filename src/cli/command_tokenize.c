/* spate tokenize: the tokens of a text, one "id text" a line. */
#include "base/json.h"
#include "cli/command.h"
#include "cli/progress.h"

#include <stdio.h>
#include <stdlib.h>

/* The text as a JSON string without its quotes: what would break a line is escaped. */
static void token_print(const json_t *token) {
  struct buffer text;
  buffer_init(&text, 1 << 20);
  json_write_string(&text, json_slice(json_object_get(token, "text")));
  printf("%6lld  %.*s\n", (long long)json_integer_value(json_object_get(token, "id")),
         text.failed || text.size < 2 ? 0 : (int)text.size - 2, text.size ? text.data + 1 : "");
  buffer_release(&text);
}

static int tokens_print(const spate_text *json) {
  struct error error;
  json_t *root = json_parse(slice_make(json->data, json->size), &error);
  if (!root) return command_fail(error.text);
  const json_t *tokens = json_object_get(root, "tokens");
  for (size_t i = 0; i < json_array_size(tokens); i++) token_print(json_array_get(tokens, i));
  json_decref(root);
  return 0;
}

int command_tokenize(const struct settings *settings) {
  spate_error error;
  spate_text json;
  struct progress progress = progress_quiet();
  spate_tokenize_options options;
  spate_tokenize_options_init(&options);
  char *text = prompt_read(settings, &options.text_size);
  if (!text) return 1;
  options.model = settings->operand;
  options.text = text;
  options.no_special = settings->no_special;
  options.progress = progress_show;
  options.user = &progress;
  bool done = spate_tokenize(&options, &json, &error);
  free(text);
  if (!done) return command_fail(error.text);
  int code = 0;
  if (settings->json)
    printf("%s\n", json.data);
  else
    code = tokens_print(&json);
  spate_text_free(&json);
  return code;
}
