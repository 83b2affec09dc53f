/* What the tests of chat templates share: the conversations, one template's results, the comparison. */
#ifndef SPATE_TESTS_CHAT_SUPPORT_H
#define SPATE_TESTS_CHAT_SUPPORT_H

#include "text_support.h"

#include "base/utf8.h"
#include "text/chat_template.h"

#define CHAT_FIXTURES FIXTURES "/text/chat"

static inline json_t *chat_fixture(const char *name) {
  char path[256];
  struct error error = {0};
  snprintf(path, sizeof path, CHAT_FIXTURES "/%s", name);
  json_t *value = json_read(path, 1 << 24, &error);
  if (!value) fail_msg("%s", error.text);
  return value;
}

/* The moment and the tokens of tools/make_chat_fixtures.py. */
static inline struct chat_input chat_conversation(const json_t *conversation) {
  return (struct chat_input){
      .messages = json_object_get(conversation, "messages"),
      .tools = json_object_get(conversation, "tools"),
      .variables = json_object_get(conversation, "variables"),
      .add_generation_prompt = json_is_true(json_object_get(conversation, "add_generation_prompt")),
      .bos = slice_text("<s>"),
      .eos = slice_text("</s>"),
      .now = {.tm_year = 124,
              .tm_mon = 6,
              .tm_mday = 26,
              .tm_hour = 12,
              .tm_min = 34,
              .tm_sec = 56,
              .tm_wday = 5,
              .tm_yday = 207},
  };
}

static inline struct chat_template *chat_open(const char *folder, const char *name) {
  char path[512];
  struct error error = {0};
  struct file file;
  snprintf(path, sizeof path, "%s/%s.jinja", folder, name);
  if (!file_open(&file, path, &error)) fail_msg("%s", error.text);
  struct chat_template *template = chat_template_open(slice_make(file.data, file.size), &error);
  if (!template) fail_msg("%s: %s", path, error.text);
  file_close(&file);
  return template;
}

static inline void chat_difference(const char *what, struct slice wanted, struct slice got) {
  size_t same = 0, size = wanted.size < got.size ? wanted.size : got.size;
  while (same < size && wanted.data[same] == got.data[same]) same++;
  size_t start = same > 20 ? same - 20 : 0;
  print_error("%s, byte %zu:\n  expected ...%.*s\n  got      ...%.*s\n", what, same,
              (int)(wanted.size - start > 60 ? 60 : wanted.size - start), (const char *)wanted.data + start,
              (int)(got.size - start > 60 ? 60 : got.size - start), (const char *)got.data + start);
}

/* Size and FNV-1a, as tools/make_chat_fixtures.py writes them. */
static inline void chat_digest(struct slice text, char out[40]) {
  uint64_t value = 0xCBF29CE484222325u;
  for (size_t i = 0; i < text.size; i++) value = (value ^ text.data[i]) * 0x100000001B3u;
  snprintf(out, 40, "%zu %016llx", text.size, (unsigned long long)value);
}

/* False with what differs printed. */
static inline bool chat_agrees(const struct chat_template *template, const json_t *conversation, const json_t *expected,
                               const char *what) {
  struct chat_input input = chat_conversation(conversation);
  struct chat_text text;
  struct error error = {0};
  const json_t *written = json_object_get(expected, "text"), *refused = json_object_get(expected, "refused");
  const char *digest = json_string_value(json_object_get(expected, "digest"));
  char sentence[ERROR_TEXT_MAX], got[40];
  chat_text_init(&text);
  bool done = chat_template_render(template, &input, &text, &error), agrees;
  struct slice bytes = buffer_slice(&text.text);
  snprintf(sentence, sizeof sentence, "The model's chat template refuses these messages: %s",
           refused ? json_string_value(refused) : "");
  chat_digest(bytes, got);
  if (digest)
    agrees = done && strcmp(digest, got) == 0;
  else if (written)
    agrees = done && slice_equal(bytes, json_slice(written));
  else
    agrees = !done && error.text[0] && (!refused || strcmp(error.text, sentence) == 0);
  if (!agrees && written && done)
    chat_difference(what, json_slice(written), bytes);
  else if (!agrees && digest && done)
    print_error("%s: expected the digest %s, got %s\n", what, digest, got);
  else if (!agrees)
    print_error("%s: expected %s, got %s\n", what, written || digest ? "a text" : sentence,
                done ? "a text" : error.text);
  chat_text_release(&text);
  return agrees;
}

/* Every template and conversation of a file of results; returns how many disagree. */
static inline int chat_compare(const char *results_name, const char *folder) {
  json_t *conversations = chat_fixture("conversations.json"), *results = chat_fixture(results_name), *result, *expected;
  const char *name, *conversation;
  int wrong = 0;
  json_object_foreach(results, name, result) {
    struct chat_template *template = chat_open(folder, name);
    json_object_foreach(result, conversation, expected) {
      char what[256];
      snprintf(what, sizeof what, "%s, %s", name, conversation);
      wrong += !chat_agrees(template, json_object_get(conversations, conversation), expected, what);
    }
    chat_template_close(template);
  }
  json_decref(conversations);
  json_decref(results);
  return wrong;
}

#endif
