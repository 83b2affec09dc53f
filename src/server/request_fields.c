/* The table of fields and what its lines say in words. Constant data: any thread. */
#include "server/request_fields.h"

#include "base/json.h"
#include "base/limits.h"
#include "server/generate_request.h"

#include <inttypes.h>

#define AT(member) offsetof(struct generate_request, member)

static const struct request_field fields[] = {
    {.name = "prompt",
     .type = FIELD_PROMPT,
     .required = true,
     .description = "The text to go on from, taken as it is: no template is applied; BOS as the tokenizer says."},
    {.name = "streaming",
     .alias = "stream",
     .type = FIELD_BOOL,
     .offset = AT(streaming),
     .fallback = "false",
     .description = "Send the text as it is generated, as server-sent events or, with `Accept: application/x-ndjson`, "
                    "as lines of JSON."},
    {.name = "max_tokens",
     .type = FIELD_INT,
     .offset = AT(engine.max_tokens),
     .min = 1,
     .max = INT32_MAX,
     .fallback = "256, or less where the engine's max_seq_len leaves less",
     .description = "How many tokens to generate at most; at most the engine's max_seq_len."},
    {.name = "temperature",
     .type = FIELD_FLOAT,
     .offset = AT(engine.temperature),
     .min = 0,
     .max = 100,
     .fallback = "the model's (0 where it says do_sample: false), or 1",
     .description = "Divides the logits before a token is drawn; 0 always takes the likeliest token."},
    {.name = "top_k",
     .type = FIELD_INT,
     .offset = AT(engine.top_k),
     .min = -1,
     .max = INT32_MAX,
     .fallback = "the model's, or off",
     .description = "Draw from the k likeliest tokens only; 0 and -1 switch this off."},
    {.name = "top_p",
     .type = FIELD_FLOAT,
     .offset = AT(engine.top_p),
     .above_min = true,
     .min = 0,
     .max = 1,
     .fallback = "the model's, or 1",
     .description = "Draw from the likeliest tokens that together have this probability; 1 switches this off."},
    {.name = "seed",
     .type = FIELD_SEED,
     .fallback = "drawn for each request",
     .description = "The same seed and request give the same text."},
    {.name = "stop",
     .type = FIELD_TEXTS,
     .offset = AT(engine.stop),
     .count_offset = AT(engine.n_stop),
     .max = LIMIT_STOP_STRINGS,
     .fallback = "none",
     .description = "Generation ends before the first of these that appears in the text."},
    {.name = "min_p",
     .type = FIELD_FLOAT,
     .offset = AT(engine.min_p),
     .min = 0,
     .max = 1,
     .fallback = "the model's, or 0",
     .description = "Draw from tokens at least this many times as likely as the likeliest; 0 switches this off."},
    {.name = "typical_p",
     .type = FIELD_FLOAT,
     .offset = AT(engine.typical_p),
     .above_min = true,
     .min = 0,
     .max = 1,
     .fallback = "the model's, or 1",
     .description = "Draw from the tokens whose information is nearest to the average and that together have this "
                    "probability; 1 switches this off."},
    {.name = "repetition_penalty",
     .type = FIELD_FLOAT,
     .offset = AT(engine.repetition_penalty),
     .above_min = true,
     .min = 0,
     .max = 100,
     .fallback = "the model's, or 1",
     .description = "Divides the logits of tokens of the prompt and of the text (multiplies negative ones); 1 switches "
                    "this off."},
    {.name = "frequency_penalty",
     .type = FIELD_FLOAT,
     .offset = AT(engine.frequency_penalty),
     .min = -2,
     .max = 2,
     .fallback = "0",
     .description = "Taken from a token's logit for each time that it has been generated."},
    {.name = "presence_penalty",
     .type = FIELD_FLOAT,
     .offset = AT(engine.presence_penalty),
     .min = -2,
     .max = 2,
     .fallback = "0",
     .description = "Taken from the logit of each token that has been generated."},
    {.name = "logit_bias",
     .type = FIELD_BIASES,
     .offset = AT(engine.logit_bias),
     .count_offset = AT(engine.n_logit_bias),
     .max = LIMIT_LOGIT_BIASES,
     .fallback = "none",
     .description = "Added to the logits of these tokens."},
    {.name = "bad_words",
     .type = FIELD_TEXTS,
     .offset = AT(engine.bad_words),
     .count_offset = AT(engine.n_bad_words),
     .max = LIMIT_BAD_WORDS,
     .fallback = "none",
     .description =
         "Texts whose tokens are never generated one after the other, with and without a space before them."},
    {.name = "allowed_token_ids",
     .type = FIELD_TOKENS,
     .offset = AT(engine.allowed_token_ids),
     .count_offset = AT(engine.n_allowed_token_ids),
     .max = LIMIT_ALLOWED_TOKENS,
     .fallback = "all",
     .description = "The only tokens that are generated."},
    {.name = "min_tokens",
     .type = FIELD_INT,
     .offset = AT(engine.min_tokens),
     .min = 0,
     .max = INT32_MAX,
     .fallback = "0",
     .description = "How many tokens to generate at least; at most max_tokens. Until then no end token is drawn and no "
                    "stop string stops."},
    {.name = "stop_token_ids",
     .type = FIELD_TOKENS,
     .offset = AT(engine.stop_token_ids),
     .count_offset = AT(engine.n_stop_token_ids),
     .max = LIMIT_STOP_TOKENS,
     .fallback = "none",
     .description = "Tokens that end the generation besides the model's own ends."},
    {.name = "include_stop_str_in_output",
     .type = FIELD_BOOL,
     .offset = AT(engine.include_stop_str_in_output),
     .fallback = "false",
     .description = "The text keeps the stop string, or the text of the stop token, that ended it."},
    {.name = "ignore_eos",
     .type = FIELD_BOOL,
     .offset = AT(engine.ignore_eos),
     .fallback = "false",
     .description = "The model's own ends do not end the generation."},
    {.name = "logprobs",
     .type = FIELD_BOOL,
     .offset = AT(engine.logprobs),
     .fallback = "false",
     .description = "Send the log-probability of each generated token, before penalties, temperature and filters."},
    {.name = "top_logprobs",
     .type = FIELD_INT,
     .offset = AT(engine.top_logprobs),
     .min = 0,
     .max = LIMIT_TOP_LOGPROBS,
     .fallback = "0",
     .description = "And those of so many likeliest tokens; needs logprobs."},
    {.name = "tensor_parallel_size",
     .type = FIELD_ONE,
     .fallback = "1",
     .description = "Devices that share the model; set for the whole server, so that a request can only agree."},
    {.name = "lora_request", .type = FIELD_LATER, .description = "Adapters do not exist yet: leave lora_request out."},
    {.name = "image_data",
     .type = FIELD_LATER,
     .description = "Images do not exist yet: leave image_data out and send text alone."},
};

enum { N_FIELD = sizeof fields / sizeof *fields, NAME_MAX_COMPARED = 32 };

const struct request_field *request_fields(int *n) {
  *n = N_FIELD;
  return fields;
}

const struct request_field *request_field_find(struct slice name) {
  for (int i = 0; i < N_FIELD; i++)
    if (slice_is(name, fields[i].name) || (fields[i].alias && slice_is(name, fields[i].alias))) return &fields[i];
  return NULL;
}

static size_t least(size_t a, size_t b) { return a < b ? a : b; }

/* Insertions, deletions and changes that turn one name into the other. */
static size_t edit_distance(struct slice given, const char *name) {
  size_t row[NAME_MAX_COMPARED + 1];
  for (size_t i = 0; i <= given.size; i++) row[i] = i;
  for (size_t n = 1; *name; name++, n++) {
    size_t diagonal = row[0];
    row[0] = n;
    for (size_t i = 1; i <= given.size; i++) {
      size_t changed = diagonal + (given.data[i - 1] != (uint8_t)*name);
      diagonal = row[i];
      row[i] = least(changed, least(row[i], row[i - 1]) + 1);
    }
  }
  return row[given.size];
}

const struct request_field *request_field_nearest(struct slice name) {
  if (name.size > NAME_MAX_COMPARED) return NULL;
  const struct request_field *nearest = NULL;
  size_t least_distance = name.size / 2 + 1;
  for (int i = 0; i < N_FIELD; i++) {
    size_t distance = edit_distance(name, fields[i].name);
    if (distance >= least_distance) continue;
    least_distance = distance;
    nearest = &fields[i];
  }
  return nearest;
}

static void expect_range(const struct request_field *field, struct buffer *out) {
  buffer_text(out, field->above_min ? " above " : " from ");
  json_write_number(out, field->min);
  buffer_text(out, field->above_min ? " and up to " : " to ");
  json_write_number(out, field->max);
}

void request_field_expect(const struct request_field *field, struct buffer *out) {
  switch (field->type) {
  case FIELD_PROMPT: buffer_text(out, "a string"); break;
  case FIELD_BOOL: buffer_text(out, "true or false"); break;
  case FIELD_INT:
    buffer_text(out, "a whole number");
    expect_range(field, out);
    break;
  case FIELD_FLOAT:
    buffer_text(out, "a number");
    expect_range(field, out);
    break;
  case FIELD_SEED: buffer_print(out, "a whole number from 0 to %" PRId64, INT64_MAX); break;
  case FIELD_TEXTS:
    buffer_print(out, "a string or a list of up to %d strings, each of 1 to %d bytes and without U+0000",
                 (int)field->max, LIMIT_STOP_BYTES);
    break;
  case FIELD_TOKENS: buffer_print(out, "a list of up to %d token ids", (int)field->max); break;
  case FIELD_BIASES:
    buffer_print(out, "an object of up to %d token ids, each with a number from -%d to %d", (int)field->max,
                 LIMIT_LOGIT_BIAS, LIMIT_LOGIT_BIAS);
    break;
  case FIELD_ONE: buffer_text(out, "1: more does not exist yet"); break;
  case FIELD_LATER: buffer_text(out, "nothing"); break;
  }
}
