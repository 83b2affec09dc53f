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
#include "server/text_feed.h"

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
  bool ranks; /* `first` is a query, `second` what may answer it */
};

static struct answer_facts facts_make(const struct embed_work *w) {
  struct answer_facts facts = {.engine = w->served->engine,
                               .model = w->served->info.name,
                               .created = (int64_t)time(NULL),
                               .n_query = w->pairs || !w->wanted.second.field ? 0 : (int)w->wanted.first.count,
                               .top_n = w->wanted.top_n,
                               .similarity = w->served->info.similarity,
                               .n = 1};
  if (w->wanted.return_documents && w->wanted.second.field)
    facts.documents = json_incref((json_t *)(uintptr_t)w->wanted.second.field);
  snprintf(facts.id, sizeof facts.id, "embd-%08x%016llx", w->server->nonce, (unsigned long long)w->request->id);
  return facts;
}

/* What stands before the texts of a ranking by vectors: the query's prompt and the documents', by the names that
 * sentence-transformers has for them. */
static void prompts_choose(const struct embed_work *w, struct text_feed *feed) {
  static const char *const names[2][4] = {{"query", NULL}, {"document", "passage", "corpus", NULL}};
  if (!w->ranks || w->pairs || feed->wanted.prompt_name) return;
  for (int i = 0; i < 2; i++)
    for (int k = 0; names[i][k] && !feed->prompt[i]; k++)
      if (spate_prompt(w->served->engine, names[i][k])) feed->prompt[i] = names[i][k];
}

static bool texts_submit(struct embed_work *w, const struct answer_form *form, spate_error *error) {
  size_t held = embed_parsed_bytes(w->request->body);
  struct answer_facts facts = facts_make(w);
  struct text_feed *feed = text_feed_new(&w->wanted, w->pairs);
  w->wanted = (struct embed_request){0};
  struct answer *answer =
      feed ? answer_new(form, w->request->id, text_feed_count(feed), &w->server->answer_bytes) : NULL;
  if (!answer) {
    text_feed_free(feed);
    json_decref(facts.documents);
    *error = (spate_error){SPATE_MEMORY, "Out of memory for a request."};
    return false;
  }
  answer->facts = facts;
  answer->feed = feed;
  feed->tenant = access_check(&w->server->access, http_request_header(w->request, "authorization"));
  prompts_choose(w, feed);
  if (!answer_held_count(answer, 0, held)) {
    answer_free(answer);
    *error = (spate_error){SPATE_BUSY, "What waits for all clients leaves no room for these texts: try again later."};
    return false;
  }
  server_loop_begin(w->request, answer);
  return server_loop_texts(w->request, feed, error);
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

/* A prompt that the model does not have is the field's fault. */
static bool prompt_known(const struct embed_work *w) {
  char sentence[320];
  const char *name = w->wanted.prompt_name;
  if (!name || !*name || spate_prompt(w->served->engine, name)) return true;
  snprintf(sentence, sizeof sentence,
           "prompt_name is \"%.100s\", which is none of the prompts of the model %.100s (its "
           "config_sentence_transformers.json).",
           name, w->served->info.name);
  reply_field_error(w->request, 400, "prompt_name", sentence);
  return false;
}

typedef bool fields_read(struct embed_work *work, struct error *error);

static void embed_handle(struct server *server, struct http_request *request, fields_read *read,
                         const struct answer_form *form) {
  struct embed_work w = {.server = server, .request = request, .served = server_loop_engine(request)};
  struct error error;
  spate_error refusal;
  if (!w.served) return;
  bool understood = embed_request_read(&w.wanted, request->body, &error) && read(&w, &error);
  if (!understood && error.code == ERROR_MEMORY)
    reply_engine_error(request, SPATE_MEMORY, error.text);
  else if (!understood)
    reply_field_error(request, 400, w.wanted.param, error.text);
  else if (asker_allowed(&w) && prompt_known(&w) &&
           !texts_submit(&w, w.wanted.base64 ? &vectors_base64 : form, &refusal))
    reply_engine_error(request, refusal.code, refusal.text);
  embed_request_release(&w.wanted);
}

static int task_of(const struct embed_work *w) { return w->served->info.task; }

/* A conversation in place of texts. */
static bool messages_read(struct embed_work *w, struct error *error) {
  struct embed_request *r = &w->wanted;
  if (embed_has(r, "input"))
    return embed_field_refuse(r, "messages", "There are both input and messages: send texts, or a conversation.",
                              error);
  if (r->prompt_name && *r->prompt_name)
    return embed_field_refuse(r, "messages", "A prompt_name goes with texts alone, not with messages.", error);
  return embed_messages_read(r, error);
}

/* Texts or the ids of tokens that the model has. */
static bool input_read(struct embed_work *w, struct error *error) {
  struct embed_request *r = &w->wanted;
  int vocab = w->served->info.vocab_size;
  if (r->max_tokens_per_doc > 0)
    return embed_field_refuse(
        r, "max_tokens_per_doc",
        "max_tokens_per_doc is not taken here: truncate_prompt_tokens cuts texts that are too long.", error);
  if (r->instruct.data)
    return embed_field_refuse(r, "instruct",
                              "instruct is not taken here: it goes with two texts, to /v1/rerank or /v1/score.", error);
  if (embed_has(r, "messages")) return messages_read(w, error);
  if (!embed_texts_read(r, "input", true, &r->first, error)) return false;
  int64_t beyond = embed_id_beyond(&r->first, vocab);
  if (beyond < 0) return true;
  r->param = "input";
  return error_set(error, ERROR_INVALID, "input has the token id %lld, expected 0 to %d.", (long long)beyond,
                   vocab - 1);
}

/* What the engine would refuse too, without the field's name. */
static bool dimensions_read(struct embed_work *w, struct error *error) {
  struct embed_request *r = &w->wanted;
  int most = w->served->info.vector_size;
  if (!embed_int_read(r, "dimensions", 1, LIMIT_MODEL_WIDTH, &r->dimensions, error)) return false;
  if (task_of(w) != SPATE_TASK_EMBED || r->dimensions <= most) return true;
  r->param = "dimensions";
  return error_set(error, ERROR_INVALID, "dimensions is %d, expected 1 to %d.", r->dimensions, most);
}

/* Vectors are normed where the model's files say so, or not if the client wants them plain. */
static bool normalize_read(struct embed_work *w, struct error *error) {
  struct embed_request *r = &w->wanted;
  bool normalize = w->served->info.normalizes;
  if (!embed_bool_read(r, "normalize", &normalize, error)) return false;
  r->plain = !normalize;
  if (!normalize || w->served->info.normalizes || task_of(w) != SPATE_TASK_EMBED) return true;
  r->param = "normalize";
  return error_set(error, ERROR_INVALID,
                   "normalize is true, and the files of the model %.100s say that its vectors are not normed: divide "
                   "them by their length yourself.",
                   w->served->info.name);
}

/* Labels and scores may be wanted as the network has them, as vLLM's clients ask for the scores of reward models. */
static bool activation_read(struct embed_work *w, struct error *error) {
  bool use = true;
  if (!embed_bool_read(&w->wanted, "use_activation", &use, error)) return false;
  if (!use && task_of(w) == SPATE_TASK_EMBED)
    return embed_field_refuse(&w->wanted, "use_activation",
                              "use_activation is false, and the model makes vectors, which have none: see normalize of "
                              "/v1/embeddings.",
                              error);
  if (!use) w->wanted.plain = true;
  return true;
}

static bool embeddings_read(struct embed_work *w, struct error *error) {
  if (task_of(w) == SPATE_TASK_CLASSIFY)
    return error_set(error, ERROR_INVALID,
                     "The model %.100s tells labels of texts; it makes no vectors: see "
                     "/v1/classify, /v1/score and /v1/rerank.",
                     w->served->info.name);
  return input_read(w, error) && activation_read(w, error) && embed_format_read(&w->wanted, error) &&
         dimensions_read(w, error) && normalize_read(w, error);
}

static bool classify_read(struct embed_work *w, struct error *error) {
  if (task_of(w) == SPATE_TASK_EMBED)
    return error_set(error, ERROR_INVALID,
                     "The model %.100s makes vectors of texts; it tells no labels: see "
                     "/v1/embeddings.",
                     w->served->info.name);
  return input_read(w, error) && activation_read(w, error);
}

/* A classifier of pairs has one score for both; vectors are compared. */
static bool pairs_settle(struct embed_work *w, struct error *error) {
  const spate_engine_info *info = &w->served->info;
  w->pairs = info->task != SPATE_TASK_EMBED;
  if (w->wanted.instruct.data && !w->pairs) {
    w->wanted.param = "instruct";
    return error_set(error, ERROR_INVALID,
                     "instruct is for rankers by yes and no; the model %.100s compares vectors: see prompt_name.",
                     info->name);
  }
  if (w->wanted.instruct.data && w->wanted.prompt_name)
    return embed_field_refuse(&w->wanted, "instruct", "instruct goes without a prompt_name: send one of the two.",
                              error);
  if (!activation_read(w, error)) return false;
  if (info->task != SPATE_TASK_CLASSIFY || info->vector_size == 1) return true;
  return error_set(error, ERROR_INVALID,
                   "The model %.100s tells %d labels, where one score is wanted: see "
                   "/v1/classify.",
                   info->name, info->vector_size);
}

static bool rerank_read(struct embed_work *w, struct error *error) {
  struct embed_request *r = &w->wanted;
  w->ranks = true;
  if (!pairs_settle(w, error) || !embed_texts_read(r, "query", false, &r->first, error) ||
      !embed_texts_read(r, "documents", false, &r->second, error))
    return false;
  if (!r->first.single) return embed_field_refuse(r, "query", "query must be a string.", error);
  return embed_int_read(r, "top_n", 1, INT32_MAX, &r->top_n, error) &&
         embed_bool_read(r, "return_documents", &r->return_documents, error);
}

/* Cohere's clients have the documents themselves. */
static bool rerank_cohere_read(struct embed_work *w, struct error *error) {
  w->wanted.return_documents = false;
  return rerank_read(w, error);
}

/* The two fields have other names in other versions of vLLM: those of the first pair of which one is there. */
static bool score_read(struct embed_work *w, struct error *error) {
  static const char *const names[][2] = {{"text_1", "text_2"}, {"data_1", "data_2"}, {"queries", "documents"}};
  struct embed_request *r = &w->wanted;
  size_t k = 0;
  while (k < 2 && !embed_has(r, names[k][0]) && !embed_has(r, names[k][1])) k++;
  if (k == 2 && !embed_has(r, names[2][0]) && !embed_has(r, names[2][1])) k = 0;
  if (!pairs_settle(w, error) || !embed_texts_read(r, names[k][0], false, &r->first, error) ||
      !embed_texts_read(r, names[k][1], false, &r->second, error))
    return false;
  if (r->first.count == 1 || r->first.count == r->second.count) return true;
  r->param = names[k][1];
  return error_set(error, ERROR_INVALID, "%s has %zu texts and %s has %zu, expected as many, or one %s for all.",
                   names[k][0], r->first.count, names[k][1], r->second.count, names[k][0]);
}

void embeddings_handle(struct server *server, struct http_request *request) {
  embed_handle(server, request, embeddings_read, &vectors_float);
}

void rerank_handle(struct server *server, struct http_request *request) {
  embed_handle(server, request, rerank_read, &ranking_whole);
}

void rerank_cohere_handle(struct server *server, struct http_request *request) {
  embed_handle(server, request, rerank_cohere_read, &ranking_cohere);
}

void score_handle(struct server *server, struct http_request *request) {
  embed_handle(server, request, score_read, &scores_whole);
}

void classify_handle(struct server *server, struct http_request *request) {
  embed_handle(server, request, classify_read, &classes_whole);
}
