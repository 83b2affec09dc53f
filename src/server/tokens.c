/* Texts to tokens and back. A hostile megabyte takes a tokenizer a fifth of a second, and a template its own time, so
 * that neither is done on a network loop: a job takes the body, work beside the loops makes a page or a sentence of it,
 * and the loop sends that to whoever is still there. */
#include "server/tokens.h"

#include "base/json.h"
#include "base/limits.h"
#include "http/http_server.h"
#include "server/reply.h"
#include "server/server_loop.h"

#include <stdio.h>
#include <stdlib.h>

struct token_job {
  struct server *server;
  struct served_engine *served; /* held */
  uint64_t http_id;
  void (*make)(struct token_job *job, const json_t *root);
  struct buffer body;
  /* what came of it: a page, or a sentence */
  struct buffer page;
  spate_error error;
  const char *field; /* that the sentence is about; NULL: none */
};

static void job_fail(struct token_job *job, spate_code code, const char *field, const char *sentence) {
  job->field = field;
  job->error.code = code;
  snprintf(job->error.text, sizeof job->error.text, "%s", sentence);
}

/* --- /tokenize -----------------------------------------------------------------------------------------------------
 */

/* True when the tokens are there. */
static bool tokens_make(struct token_job *job, const json_t *root, spate_tokens *tokens) {
  const spate_engine *engine = job->served->engine;
  const json_t *prompt = json_object_get(root, "prompt"), *special = json_object_get(root, "add_special_tokens");
  if (special && !json_is_boolean(special)) {
    job_fail(job, SPATE_INVALID, "add_special_tokens", "add_special_tokens must be true or false.");
    return false;
  }
  if (json_object_get(root, "messages"))
    return spate_chat_tokens(engine, job->body.data, job->body.size, tokens, &job->error);
  if (json_is_string(prompt))
    return spate_encode(engine, json_string_value(prompt), json_string_length(prompt),
                        !special || json_is_true(special), tokens, &job->error);
  job_fail(job, SPATE_INVALID, "prompt", "prompt is missing or no string: send it, or messages.");
  return false;
}

static void tokenize(struct token_job *job, const json_t *root) {
  spate_tokens tokens;
  if (!tokens_make(job, root, &tokens)) return;
  buffer_print(&job->page, "{\"count\":%zu,\"max_model_len\":%d,\"tokens\":[", tokens.count,
               job->served->info.max_seq_len);
  for (size_t i = 0; i < tokens.count; i++) buffer_print(&job->page, i ? ",%d" : "%d", tokens.ids[i]);
  buffer_text(&job->page, "]}");
  spate_tokens_free(&tokens);
}

/* --- /detokenize ---------------------------------------------------------------------------------------------------
 */

/* The ids of the list; NULL when it is no list of them, or memory is short. */
static int32_t *ids_read(const json_t *list) {
  size_t count = json_array_size(list);
  int32_t *ids = json_is_array(list) ? calloc(count + 1, sizeof *ids) : NULL;
  for (size_t i = 0; ids && i < count; i++) {
    const json_t *id = json_array_get(list, i);
    json_int_t value = json_is_integer(id) ? json_integer_value(id) : -1;
    if (value >= 0 && value <= INT32_MAX) {
      ids[i] = (int32_t)value;
      continue;
    }
    free(ids);
    return NULL;
  }
  return ids;
}

static void detokenize(struct token_job *job, const json_t *root) {
  const json_t *list = json_object_get(root, "tokens");
  int32_t *ids = ids_read(list);
  spate_text text;
  if (!ids) {
    job_fail(job, SPATE_INVALID, "tokens", "tokens is missing or no list of token ids.");
  } else if (spate_decode(job->served->engine, ids, json_array_size(list), &text, &job->error)) {
    buffer_text(&job->page, "{\"prompt\":");
    json_write_string(&job->page, slice_make(text.data, text.size));
    buffer_text(&job->page, "}");
    spate_text_free(&text);
  }
  free(ids);
}

/* --- jobs ----------------------------------------------------------------------------------------------------------
 */

static void job_work(void *argument) {
  struct token_job *job = argument;
  struct error error;
  json_t *root = json_parse_client(buffer_slice(&job->body), false, &error);
  if (json_is_object(root))
    job->make(job, root);
  else
    job_fail(job, SPATE_INVALID, NULL, root ? "The body is not a JSON object." : error.text);
  if (job->page.failed) job_fail(job, SPATE_INTERNAL, NULL, "There is no memory for this answer.");
  json_decref(root);
}

static void job_answer(const struct token_job *job, struct http_request *request) {
  if (job->error.code == SPATE_OK)
    http_respond(request, 200, JSON_CONTENT_TYPE, NULL, buffer_slice(&job->page));
  else if (job->field)
    reply_field_error(request, 400, job->field, job->error.text);
  else
    reply_engine_error(request, job->error.code, job->error.text);
}

static void job_free(struct token_job *job) {
  atomic_fetch_sub(&job->server->token_job_bytes, job->body.size);
  buffer_release(&job->body);
  buffer_release(&job->page);
  engine_slot_drop(job->server->slot, job->served);
  free(job);
}

static void job_done(struct http_loop *loop, void *argument) {
  struct token_job *job = argument;
  struct http_request *request = http_find(loop, job->http_id);
  if (request) job_answer(job, request);
  job_free(job);
}

static struct token_job *job_new(struct server *server, struct served_engine *served,
                                 const struct http_request *request,
                                 void (*make)(struct token_job *job, const json_t *root)) {
  struct token_job *job = calloc(1, sizeof *job);
  if (!job) return NULL;
  *job = (struct token_job){.server = server, .served = served, .http_id = request->id, .make = make};
  engine_slot_hold(server->slot, served);
  buffer_init(&job->body, LIMIT_BODY_BYTES);
  buffer_init(&job->page, LIMIT_RESPONSE_BYTES);
  buffer_append(&job->body, request->body.data, request->body.size);
  atomic_fetch_add(&server->token_job_bytes, job->body.size);
  if (!job->body.failed) return job;
  job_free(job);
  return NULL;
}

static void job_start(struct server *server, struct http_request *request,
                      void (*make)(struct token_job *job, const json_t *root)) {
  if (atomic_load(&server->token_job_bytes) + request->body.size > LIMIT_TOKEN_JOB_BYTES) {
    http_metrics_refuse(&server->metrics, REFUSED_TOKENS);
    reply_engine_error(request, SPATE_BUSY, "Too many texts wait for their tokens: try again later.");
    return;
  }
  struct served_engine *served = server_loop_engine(request);
  if (!served) return;
  struct token_job *job = job_new(server, served, request, make);
  if (job && server_work(server, request, WORK_TEXTS, job_work, job_done, job)) return;
  if (job) job_free(job);
  reply_engine_error(request, SPATE_MEMORY, "Out of memory for a request.");
}

void tokenize_handle(struct server *server, struct http_request *request) { job_start(server, request, tokenize); }

void detokenize_handle(struct server *server, struct http_request *request) { job_start(server, request, detokenize); }
