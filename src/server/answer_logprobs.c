/* Log-probabilities. */
#include "server/answer_logprobs.h"

#include "base/json.h"
#include "base/utf8.h"

#include <math.h>

/* Tokens, each with the likeliest in its place. */
struct logprob_rows {
  const spate_engine *engine; /* tells tokens' texts */
  const spate_logprob *row;   /* [count][1 + n_top] */
  size_t count;
  int n_top;
};

static struct logprob_rows rows_of(const struct choice *choice, const struct buffer *buffer, int n_top) {
  return (struct logprob_rows){.engine = choice->answer->facts.engine,
                               .row = (const void *)buffer->data,
                               .count = buffer->size / (sizeof(spate_logprob) * (size_t)(1 + n_top)),
                               .n_top = n_top};
}

static struct logprob_rows text_rows(const struct choice *choice) {
  return rows_of(choice, &choice->logprobs, choice->answer->facts.top_logprobs);
}

static const spate_logprob *row_at(const struct logprob_rows *rows, size_t index) {
  return rows->row + index * (size_t)(1 + rows->n_top);
}

/* How many likeliest tokens a row has. */
static int row_tops(const struct logprob_rows *rows, const spate_logprob *row) {
  int n = 0;
  while (n < rows->n_top && row[1 + n].token >= 0) n++;
  return n;
}

static struct slice token_text(const struct logprob_rows *rows, int32_t token) {
  size_t size;
  const char *text = spate_token_text(rows->engine, token, &size);
  return slice_make(text, size);
}

/* A prompt's first token has none. */
static void write_logprob(struct buffer *out, float logprob) {
  if (isnan(logprob))
    buffer_text(out, "null");
  else
    buffer_print(out, "%.9g", (double)logprob);
}

/* --- /generate --------------------------------------------------------------------------------------------------- */

static void native_token(struct buffer *out, const struct logprob_rows *rows, const spate_logprob *logprob) {
  buffer_print(out, "{\"id\":%d,\"token\":", logprob->token);
  json_write_string(out, token_text(rows, logprob->token));
  buffer_text(out, ",\"logprob\":");
  write_logprob(out, logprob->logprob);
}

static void native_rows(struct buffer *out, const struct logprob_rows *rows) {
  buffer_text(out, "[");
  for (size_t i = 0; i < rows->count; i++) {
    const spate_logprob *row = row_at(rows, i);
    if (i) buffer_text(out, ",");
    native_token(out, rows, row);
    if (rows->n_top) buffer_text(out, ",\"top_logprobs\":[");
    for (int k = 1; k <= row_tops(rows, row); k++) {
      if (k > 1) buffer_text(out, ",");
      native_token(out, rows, &row[k]);
      buffer_text(out, "}");
    }
    buffer_text(out, rows->n_top ? "]}" : "}");
  }
  buffer_text(out, "]");
}

void logprobs_write_native(struct buffer *out, const struct choice *choice) {
  struct logprob_rows rows = text_rows(choice);
  native_rows(out, &rows);
}

/* --- prompts ----------------------------------------------------------------------------------------------------- */

static struct logprob_rows prompt_rows(const struct choice *choice) {
  return rows_of(choice, &choice->prompt_logprobs, choice->answer->facts.top_prompt_logprobs);
}

void prompt_logprobs_write_native(struct buffer *out, const struct choice *choice) {
  struct logprob_rows rows = prompt_rows(choice);
  if (rows.count == 0) return;
  buffer_text(out, ",\"prompt_logprobs\":");
  native_rows(out, &rows);
}

static void prompt_token(struct buffer *out, const struct logprob_rows *rows, const spate_logprob *logprob) {
  buffer_print(out, "\"%d\":{\"logprob\":", logprob->token);
  write_logprob(out, logprob->logprob);
  buffer_text(out, ",\"decoded_token\":");
  json_write_string(out, token_text(rows, logprob->token));
  buffer_text(out, "}");
}

/* The token's own, and the likeliest but for itself. */
static void prompt_row(struct buffer *out, const struct logprob_rows *rows, const spate_logprob *row) {
  buffer_text(out, "{");
  prompt_token(out, rows, row);
  for (int k = 1; k <= row_tops(rows, row); k++) {
    if (row[k].token == row->token) continue;
    buffer_text(out, ",");
    prompt_token(out, rows, &row[k]);
  }
  buffer_text(out, "}");
}

void prompt_logprobs_write(struct buffer *out, const struct choice *choice) {
  struct logprob_rows rows = prompt_rows(choice);
  if (rows.count == 0) return;
  buffer_text(out, ",\"prompt_logprobs\":[");
  for (size_t i = 0; i < rows.count; i++) {
    if (i) buffer_text(out, ",");
    if (isnan(row_at(&rows, i)->logprob))
      buffer_text(out, "null");
    else
      prompt_row(out, &rows, row_at(&rows, i));
  }
  buffer_text(out, "]");
}

/* --- chat completions -------------------------------------------------------------------------------------------- */

static void chat_token(struct buffer *out, const struct logprob_rows *rows, const spate_logprob *logprob) {
  struct slice text = token_text(rows, logprob->token);
  buffer_text(out, "{\"token\":");
  json_write_string(out, text);
  buffer_print(out, ",\"logprob\":%.9g,\"bytes\":[", (double)logprob->logprob);
  for (size_t i = 0; i < text.size; i++) buffer_print(out, i ? ",%d" : "%d", text.data[i]);
  buffer_text(out, "]");
}

void logprobs_write_chat(struct buffer *out, const struct choice *choice) {
  struct logprob_rows rows = text_rows(choice);
  buffer_text(out, "{\"content\":[");
  for (size_t i = 0; i < rows.count; i++) {
    const spate_logprob *row = row_at(&rows, i);
    if (i) buffer_text(out, ",");
    chat_token(out, &rows, row);
    buffer_text(out, ",\"top_logprobs\":[");
    for (int k = 1; k <= row_tops(&rows, row); k++) {
      if (k > 1) buffer_text(out, ",");
      chat_token(out, &rows, &row[k]);
      buffer_text(out, "}");
    }
    buffer_text(out, "]}");
  }
  buffer_text(out, "]}");
}

/* --- completions ------------------------------------------------------------------------------------------------- */

static bool top_repeats(const struct logprob_rows *rows, const spate_logprob *row, int index) {
  struct slice text = token_text(rows, row[index].token);
  for (int i = 1; i < index; i++)
    if (slice_equal(token_text(rows, row[i].token), text)) return true;
  return false;
}

/* An object keyed by text: of tokens with one text the likeliest counts. */
static void completion_tops(struct buffer *out, const struct logprob_rows *rows, const spate_logprob *row) {
  if (isnan(row->logprob)) {
    buffer_text(out, "null");
    return;
  }
  buffer_text(out, "{");
  for (int i = 1, n = 0; i <= row_tops(rows, row); i++) {
    if (top_repeats(rows, row, i)) continue;
    if (n++) buffer_text(out, ",");
    json_write_string(out, token_text(rows, row[i].token));
    buffer_print(out, ":%.9g", (double)row[i].logprob);
  }
  buffer_text(out, "}");
}

size_t logprobs_characters(const struct choice *choice) {
  struct logprob_rows rows = text_rows(choice);
  size_t characters = 0;
  for (size_t i = 0; i < rows.count; i++) characters += utf8_characters(token_text(&rows, row_at(&rows, i)->token));
  return characters;
}

void logprobs_write_completion(struct buffer *out, const struct choice *choice) {
  struct logprob_rows rows = text_rows(choice);
  size_t at = choice->told_characters;
  buffer_text(out, "{\"tokens\":[");
  for (size_t i = 0; i < rows.count; i++) {
    if (i) buffer_text(out, ",");
    json_write_string(out, token_text(&rows, row_at(&rows, i)->token));
  }
  buffer_text(out, "],\"token_logprobs\":[");
  for (size_t i = 0; i < rows.count; i++) {
    if (i) buffer_text(out, ",");
    write_logprob(out, row_at(&rows, i)->logprob);
  }
  buffer_text(out, "],\"top_logprobs\":[");
  for (size_t i = 0; i < rows.count; i++) {
    if (i) buffer_text(out, ",");
    completion_tops(out, &rows, row_at(&rows, i));
  }
  buffer_text(out, "],\"text_offset\":[");
  for (size_t i = 0; i < rows.count; i++) {
    buffer_print(out, i ? ",%zu" : "%zu", at);
    at += utf8_characters(token_text(&rows, row_at(&rows, i)->token));
  }
  buffer_text(out, "]}");
}
