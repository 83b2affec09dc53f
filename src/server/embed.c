/* From a request for vectors to submitted texts; their events answer (server_loop.c). */
#include "server/embed.h"

#include "base/arena.h"
#include "base/limits.h"
#include "server/access.h"
#include "server/answer.h"
#include "server/embed_request.h"
#include "server/reply.h"
#include "server/request_log.h"
#include "server/server_loop.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

/* A request that is being handled, what it asks for, and the engine that it is for. */
struct embed_work {
  struct server *server;
  struct http_request *request;
  struct served_engine *served;
  struct embed_request wanted;
  bool pairs; /* texts of `first` and `second` go to the engine together; otherwise one after the other */
};

static size_t larger(size_t a, size_t b) { return a > b ? a : b; }

/* Requests at the engine. */
static size_t texts_count(const struct embed_work *w) {
  const struct embed_request *r = &w->wanted;
  return w->pairs ? larger(r->first.count, r->second.count) : r->first.count + r->second.count;
}

static struct answer_facts facts_make(const struct embed_work *w) {
  struct answer_facts facts = {.engine = w->served->engine,
                               .model = w->served->info.name,
                               .created = (int64_t)time(NULL),
                               .n_query = w->pairs || !w->wanted.second.field ? 0 : (int)w->wanted.first.count,
                               .top_n = w->wanted.top_n,
                               .n = 1};
  if (w->wanted.return_documents && w->wanted.second.field)
    facts.documents = json_incref((json_t *)(uintptr_t)w->wanted.second.field);
  snprintf(facts.id, sizeof facts.id, "embd-%08x%016llx", w->server->nonce, (unsigned long long)w->request->id);
  return facts;
}

/* --- texts -------------------------------------------------------------------------------------------------------- */

/* A text's tokens, or its bytes. False: there is no memory. */
static bool text_take(const json_t *text, spate_embed_request *one, int32_t **ids) {
  size_t count = json_array_size(text);
  *ids = NULL;
  if (json_is_string(text)) {
    one->text = json_string_value(text);
    one->text_size = json_string_length(text);
    return true;
  }
  *ids = calloc(count, sizeof **ids);
  for (size_t i = 0; *ids && i < count; i++) (*ids)[i] = (int32_t)json_integer_value(json_array_get(text, i));
  one->tokens = *ids;
  one->n_token = (int)count;
  return *ids != NULL;
}

static bool text_submit(const struct embed_work *w, size_t index, spate_error *error) {
  const struct embed_request *r = &w->wanted;
  bool second = !w->pairs && index >= r->first.count;
  spate_embed_request one;
  int32_t *ids;
  spate_embed_request_init(&one);
  one.dimensions = r->dimensions;
  one.truncate = r->truncate;
  one.priority = r->priority;
  one.timeout_s = r->timeout_s;
  one.tenant = access_check(&w->server->access, http_request_header(w->request, "authorization"));
  const json_t *text = second ? embed_text_at(&r->second, index - r->first.count) : embed_text_at(&r->first, index);
  bool taken = text_take(text, &one, &ids); /* tokens without memory are refused below, and their answer ends */
  if (w->pairs && r->second.field) {
    const json_t *pair = embed_text_at(&r->second, index);
    one.pair = json_string_value(pair);
    one.pair_size = json_string_length(pair);
  }
  bool entered = server_loop_embed(w->request, (int)index, &one, error);
  if (!taken) *error = (spate_error){SPATE_MEMORY, "Out of memory for a request."};
  free(ids);
  return entered;
}

static bool texts_submit(const struct embed_work *w, const struct answer_form *form, spate_error *error) {
  size_t count = texts_count(w);
  struct answer *answer = answer_new(form, w->request->id, (int)count, &w->server->answer_bytes);
  if (!answer) {
    *error = (spate_error){SPATE_MEMORY, "Out of memory for a request."};
    return false;
  }
  answer->facts = facts_make(w);
  server_loop_begin(w->request, answer);
  for (size_t i = 0; i < count; i++)
    if (!text_submit(w, i, error)) return false;
  return true;
}

/* --- routes ------------------------------------------------------------------------------------------------------- */

/* The same as for requests that generate: a model of another name, a priority that is not allowed. */
static bool asker_allowed(const struct embed_work *w) {
  char sentence[320];
  const char *name = w->served->info.name;
  int tenant = access_check(&w->server->access, http_request_header(w->request, "authorization"));
  int least = w->server->access.min_priority[tenant];
  if (w->wanted.model && strcmp(w->wanted.model, name) != 0) {
    snprintf(sentence, sizeof sentence, "There is no model \"%.100s\" here; this server has \"%.100s\".",
             w->wanted.model, name);
    reply_field_error(w->request, 404, "model", sentence);
    return false;
  }
  if (w->wanted.priority >= least) return true;
  snprintf(sentence, sizeof sentence,
           "priority is %d, expected at least %d, which this server allows you (--min-priority).", w->wanted.priority,
           least);
  reply_field_error(w->request, 400, "priority", sentence);
  return false;
}

typedef bool fields_read(struct embed_work *work, struct error *error);

static void embed_handle(struct server *server, struct http_request *request, fields_read *read,
                         const struct answer_form *form) {
  struct embed_work w = {.server = server, .request = request, .served = server_loop_engine(request)};
  struct error error;
  spate_error refusal;
  if (!w.served) return;
  if (!embed_request_read(&w.wanted, request->body, &error) || !read(&w, &error))
    reply_field_error(request, 400, w.wanted.param, error.text);
  else if (asker_allowed(&w) && !texts_submit(&w, w.wanted.base64 ? &vectors_base64 : form, &refusal))
    reply_engine_error(request, refusal.code, refusal.text);
  embed_request_release(&w.wanted);
}

static int task_of(const struct embed_work *w) { return w->served->info.task; }

static bool embeddings_read(struct embed_work *w, struct error *error) {
  if (task_of(w) == SPATE_TASK_CLASSIFY)
    return error_set(error, ERROR_INVALID,
                     "The model %.100s tells labels of texts; it makes no vectors: see "
                     "/v1/classify, /v1/score and /v1/rerank.",
                     w->served->info.name);
  return embed_texts_read(&w->wanted, "input", true, &w->wanted.first, error) && embed_format_read(&w->wanted, error) &&
         embed_int_read(&w->wanted, "dimensions", 1, LIMIT_MODEL_WIDTH, &w->wanted.dimensions, error);
}

static bool classify_read(struct embed_work *w, struct error *error) {
  if (task_of(w) == SPATE_TASK_EMBED)
    return error_set(error, ERROR_INVALID,
                     "The model %.100s makes vectors of texts; it tells no labels: see "
                     "/v1/embeddings.",
                     w->served->info.name);
  return embed_texts_read(&w->wanted, "input", true, &w->wanted.first, error);
}

/* A classifier of pairs has one score for both; vectors are compared. */
static bool pairs_settle(struct embed_work *w, struct error *error) {
  const spate_engine_info *info = &w->served->info;
  w->pairs = info->task != SPATE_TASK_EMBED;
  if (info->task != SPATE_TASK_CLASSIFY || info->vector_size == 1) return true;
  return error_set(error, ERROR_INVALID,
                   "The model %.100s tells %d labels, where one score is wanted: see "
                   "/v1/classify.",
                   info->name, info->vector_size);
}

static bool rerank_read(struct embed_work *w, struct error *error) {
  struct embed_request *r = &w->wanted;
  if (!pairs_settle(w, error) || !embed_texts_read(r, "query", false, &r->first, error) ||
      !embed_texts_read(r, "documents", false, &r->second, error))
    return false;
  if (!r->first.single) {
    r->param = "query";
    return error_set(error, ERROR_INVALID, "query must be a string.");
  }
  return embed_int_read(r, "top_n", 1, INT32_MAX, &r->top_n, error) &&
         embed_bool_read(r, "return_documents", &r->return_documents, error);
}

static bool score_read(struct embed_work *w, struct error *error) {
  struct embed_request *r = &w->wanted;
  if (!pairs_settle(w, error) || !embed_texts_read(r, "text_1", false, &r->first, error) ||
      !embed_texts_read(r, "text_2", false, &r->second, error))
    return false;
  if (r->first.count == 1 || r->first.count == r->second.count) return true;
  r->param = "text_2";
  return error_set(error, ERROR_INVALID,
                   "text_1 has %zu texts and text_2 has %zu, expected as many, or one text_1 for all.", r->first.count,
                   r->second.count);
}

void embeddings_handle(struct server *server, struct http_request *request) {
  embed_handle(server, request, embeddings_read, &vectors_float);
}

void rerank_handle(struct server *server, struct http_request *request) {
  embed_handle(server, request, rerank_read, &ranking_whole);
}

void score_handle(struct server *server, struct http_request *request) {
  embed_handle(server, request, score_read, &scores_whole);
}

void classify_handle(struct server *server, struct http_request *request) {
  embed_handle(server, request, classify_read, &classes_whole);
}
