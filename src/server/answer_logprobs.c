/* Log-probabilities. */
#include "server/answer_logprobs.h"

#include "base/json.h"
#include "base/utf8.h"

/* One token of a choice and the likeliest in its place. */
struct logprob_row {
  const spate_logprob *token, *top;
  int n_top;
};

static struct logprob_row row_get(const struct choice *choice, size_t index) {
  int n_top = choice->answer->facts.top_logprobs;
  const spate_logprob *rows = (const void *)choice->logprobs.data;
  struct logprob_row row = {.token = rows + index * (size_t)(1 + n_top)};
  row.top = row.token + 1;
  while (row.n_top < n_top && row.top[row.n_top].token >= 0) row.n_top++;
  return row;
}

static struct slice token_text(const struct choice *choice, int32_t token) {
  size_t size;
  const char *text = spate_token_text(choice->answer->facts.engine, token, &size);
  return slice_make(text, size);
}

/* --- /generate --------------------------------------------------------------------------------------------------- */

static void native_token(struct buffer *out, const struct choice *choice, const spate_logprob *logprob) {
  buffer_print(out, "{\"id\":%d,\"token\":", logprob->token);
  json_write_string(out, token_text(choice, logprob->token));
  buffer_print(out, ",\"logprob\":%.9g", (double)logprob->logprob);
}

void logprobs_write_native(struct buffer *out, const struct choice *choice) {
  buffer_text(out, "[");
  for (size_t i = 0; i < choice_logprobs(choice); i++) {
    struct logprob_row row = row_get(choice, i);
    if (i) buffer_text(out, ",");
    native_token(out, choice, row.token);
    if (choice->answer->facts.top_logprobs) buffer_text(out, ",\"top_logprobs\":[");
    for (int k = 0; k < row.n_top; k++) {
      if (k) buffer_text(out, ",");
      native_token(out, choice, &row.top[k]);
      buffer_text(out, "}");
    }
    buffer_text(out, choice->answer->facts.top_logprobs ? "]}" : "}");
  }
  buffer_text(out, "]");
}

/* --- chat completions -------------------------------------------------------------------------------------------- */

static void chat_token(struct buffer *out, const struct choice *choice, const spate_logprob *logprob) {
  struct slice text = token_text(choice, logprob->token);
  buffer_text(out, "{\"token\":");
  json_write_string(out, text);
  buffer_print(out, ",\"logprob\":%.9g,\"bytes\":[", (double)logprob->logprob);
  for (size_t i = 0; i < text.size; i++) buffer_print(out, i ? ",%d" : "%d", text.data[i]);
  buffer_text(out, "]");
}

void logprobs_write_chat(struct buffer *out, const struct choice *choice) {
  buffer_text(out, "{\"content\":[");
  for (size_t i = 0; i < choice_logprobs(choice); i++) {
    struct logprob_row row = row_get(choice, i);
    if (i) buffer_text(out, ",");
    chat_token(out, choice, row.token);
    buffer_text(out, ",\"top_logprobs\":[");
    for (int k = 0; k < row.n_top; k++) {
      if (k) buffer_text(out, ",");
      chat_token(out, choice, &row.top[k]);
      buffer_text(out, "}");
    }
    buffer_text(out, "]}");
  }
  buffer_text(out, "]}");
}

/* --- completions ------------------------------------------------------------------------------------------------- */

static bool tops_repeat(const struct choice *choice, const struct logprob_row *row, int index) {
  struct slice text = token_text(choice, row->top[index].token);
  for (int i = 0; i < index; i++)
    if (slice_equal(token_text(choice, row->top[i].token), text)) return true;
  return false;
}

/* An object keyed by text: of tokens with one text the likeliest counts. */
static void completion_tops(struct buffer *out, const struct choice *choice, const struct logprob_row *row) {
  buffer_text(out, "{");
  for (int i = 0, n = 0; i < row->n_top; i++) {
    if (tops_repeat(choice, row, i)) continue;
    if (n++) buffer_text(out, ",");
    json_write_string(out, token_text(choice, row->top[i].token));
    buffer_print(out, ":%.9g", (double)row->top[i].logprob);
  }
  buffer_text(out, "}");
}

void logprobs_write_completion(struct buffer *out, const struct choice *choice, size_t text_start) {
  size_t count = choice_logprobs(choice), at = text_start;
  buffer_text(out, "{\"tokens\":[");
  for (size_t i = 0; i < count; i++) {
    if (i) buffer_text(out, ",");
    json_write_string(out, token_text(choice, row_get(choice, i).token->token));
  }
  buffer_text(out, "],\"token_logprobs\":[");
  for (size_t i = 0; i < count; i++) buffer_print(out, i ? ",%.9g" : "%.9g", (double)row_get(choice, i).token->logprob);
  buffer_text(out, "],\"top_logprobs\":[");
  for (size_t i = 0; i < count; i++) {
    struct logprob_row row = row_get(choice, i);
    if (i) buffer_text(out, ",");
    completion_tops(out, choice, &row);
  }
  buffer_text(out, "],\"text_offset\":[");
  for (size_t i = 0; i < count; i++) {
    buffer_print(out, i ? ",%zu" : "%zu", at);
    at += utf8_characters(token_text(choice, row_get(choice, i).token->token));
  }
  buffer_text(out, "]}");
}
