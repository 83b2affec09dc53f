/* From a request for text to submitted generations; their events answer (server_loop.c). */
#include "server/generate.h"

#include "server/answer.h"
#include "server/body_job.h"
#include "server/reply.h"
#include "server/request_log.h"
#include "server/server_loop.h"
#include "server/tool_calls.h"

#include <stdio.h>
#include <time.h>

/* A request that is being handled, and the engine that it is for. */
struct work {
  struct server *server;
  struct http_request *request;
  struct served_engine *served;
};

static bool accepts_lines(const struct http_request *request) {
  static const char type[] = "application/x-ndjson";
  struct slice accept = http_request_header(request, "accept");
  return accept.data && memmem(accept.data, accept.size, type, sizeof type - 1) != NULL;
}

static const struct answer_form *form_choose(const struct http_request *request,
                                             const struct generate_request *wanted) {
  bool streams = wanted->streaming;
  switch (wanted->kind) {
  case REQUEST_COMPLETION: return streams ? &completion_stream : &completion_whole;
  case REQUEST_CHAT: return streams ? &chat_stream : &chat_whole;
  default: break;
  }
  if (!streams) return &generate_whole;
  return accepts_lines(request) ? &generate_ndjson : &generate_sse;
}

/* Marks that may be special tokens are told to the server, and to nobody else. */
static void dialect_choose(const struct served_engine *served, const struct generate_request *wanted,
                           struct answer_facts *facts) {
  facts->dialect = served->dialect;
  facts->tools = wanted->tools && !wanted->no_tools ? tools_brief(wanted->tools, &facts->tools_bytes) : NULL;
  facts->one_call = !wanted->parallel_tool_calls;
  facts->no_thought = !wanted->include_reasoning;
  facts->takes_apart = facts->tools || served->dialect.thoughts || served->dialect.channels;
}

static bool marks_are_special(const struct served_engine *served, const struct generate_request *wanted) {
  const struct answer_dialect *dialect = &served->dialect;
  bool tools = wanted->tools && !wanted->no_tools, thoughts = dialect->thoughts && dialect->thoughts->special;
  return wanted->kind == REQUEST_CHAT && (tools || thoughts || dialect->channels);
}

static struct answer_facts facts_make(const struct work *work, const struct generate_request *wanted) {
  struct answer_facts facts = {.engine = work->served->engine,
                               .model = work->served->info.name,
                               .created = (int64_t)time(NULL),
                               .logprobs = wanted->engine.logprobs,
                               .top_logprobs = wanted->engine.top_logprobs,
                               .prompt_logprobs = wanted->engine.prompt_logprobs,
                               .top_prompt_logprobs = wanted->engine.top_prompt_logprobs,
                               .echo = wanted->echo,
                               .only_echo = wanted->only_echo,
                               .include_usage = wanted->include_usage,
                               .n = wanted->n,
                               .stop = json_incref(json_object_get(wanted->json, "stop"))};
  if (wanted->model && strcmp(wanted->model, facts.model) != 0) { /* an adapter's name */
    facts.adapter = json_incref(json_object_get(wanted->json, "model"));
    facts.model = json_string_value(facts.adapter);
  }
  if (wanted->kind == REQUEST_CHAT) dialect_choose(work->served, wanted, &facts);
  snprintf(facts.id, sizeof facts.id, "%s-%08x%016llx", wanted->kind == REQUEST_CHAT ? "chatcmpl" : "cmpl",
           work->server->nonce, (unsigned long long)work->request->id);
  return facts;
}

/* --- choices ----------------------------------------------------------------------------------------------------- */

/* The prompt at the start of a choice's text. */
static bool prompt_echo(const struct work *work, const spate_request *wanted, struct choice *choice,
                        spate_error *error) {
  spate_text text = {0};
  const spate_engine *engine = work->served->engine;
  if (wanted->n_token && !spate_decode(engine, wanted->tokens, (size_t)wanted->n_token, &text, error)) return false;
  bool kept = wanted->n_token ? answer_keep(choice, &choice->text, text.data, text.size)
                              : answer_keep(choice, &choice->text, wanted->prompt, wanted->prompt_size);
  spate_text_free(&text);
  if (!kept) *error = (spate_error){SPATE_LIMIT, "The echo is larger than one response may be: leave echo out."};
  return kept;
}

static spate_request prompt_request(const struct served_engine *served, const struct generate_request *wanted,
                                    int index) {
  spate_request one = wanted->engine;
  one.n = wanted->n;
  one.write_special_tokens = !wanted->skip_special_tokens;
  one.write_marks = marks_are_special(served, wanted);
  if (wanted->n_prompt == 0) return one;
  const struct request_prompt *prompt = &wanted->prompt[index];
  one.prompt = (const char *)prompt->text.data;
  one.prompt_size = prompt->text.size;
  one.tokens = prompt->tokens;
  one.n_token = prompt->n_token;
  return one;
}

static bool choices_submit(const struct work *work, const struct generate_request *wanted, spate_error *error) {
  struct http_request *request = work->request;
  int n_prompt = wanted->n_prompt ? wanted->n_prompt : 1, n_choice = n_prompt * wanted->n;
  struct answer *answer = answer_new(form_choose(request, wanted), request->id, n_choice, &work->server->answer_bytes);
  if (!answer) {
    *error = (spate_error){SPATE_MEMORY, "Out of memory for a request."};
    return false;
  }
  answer->facts = facts_make(work, wanted);
  if (!answer_held_count(answer, 0, answer->facts.tools_bytes)) {
    *error = (spate_error){SPATE_LIMIT, "What waits for all clients leaves no room for these tools: try again later."};
    answer_free(answer);
    return false;
  }
  for (int i = 0; i < n_choice && wanted->echo; i++) {
    spate_request one = prompt_request(work->served, wanted, i / wanted->n);
    if (prompt_echo(work, &one, &answer->choice[i], error)) continue;
    answer_free(answer);
    return false;
  }
  server_loop_begin(request, answer);
  for (int i = 0; i < n_prompt; i++) {
    spate_request one = prompt_request(work->served, wanted, i);
    if (!server_loop_submit(request, i, &one, error)) return false;
  }
  return true;
}

/* --- routes ------------------------------------------------------------------------------------------------------ */

/* In front of those that the request names besides. */
static bool adapter_add(struct generate_request *wanted, const char *name) {
  spate_request *engine = &wanted->engine;
  size_t n = (size_t)engine->n_loras;
  spate_lora *all = arena_array(&wanted->lists, n + 1, sizeof *all);
  if (!all) return false;
  all[0] = (spate_lora){name, 1};
  if (n > 0) memcpy(all + 1, engine->loras, n * sizeof *all);
  engine->loras = all;
  engine->n_loras++;
  return true;
}

/* OpenAI's clients name a model; there is one, and its adapters. */
static bool model_known(const struct work *work, struct generate_request *wanted) {
  const char *name = work->served->info.name;
  char sentence[320];
  if (!wanted->model || strcmp(wanted->model, name) == 0) return true;
  if (spate_lora_known(work->served->engine, wanted->model) && adapter_add(wanted, wanted->model)) return true;
  snprintf(sentence, sizeof sentence, "There is no model \"%.100s\" here; this server has \"%.100s\".", wanted->model,
           name);
  reply_field_error(work->request, 404, "model", sentence);
  return false;
}

/* Whoever may put themselves before all others makes them wait. */
static bool priority_allowed(const struct server *server, struct http_request *request,
                             const struct generate_request *wanted) {
  char sentence[160];
  int least = server->access.min_priority[wanted->engine.tenant];
  if (wanted->engine.priority >= least) return true;
  snprintf(sentence, sizeof sentence,
           "priority is %d, expected at least %d, which this server allows you (--min-priority).",
           wanted->engine.priority, least);
  reply_field_error(request, 400, "priority", sentence);
  return false;
}

/* The holder of each API key is a tenant. */
static void submit(const struct work *work, struct generate_request *wanted) {
  struct server *server = work->server;
  struct http_request *request = work->request;
  spate_error refusal;
  wanted->engine.tenant = access_check(&server->access, http_request_header(request, "authorization"));
  atomic_fetch_add_explicit(&server->metrics.ignored_fields, (unsigned)wanted->n_ignored, memory_order_relaxed);
  if (server->log_prompts) request_log_prompt(server, request, wanted);
  if (model_known(work, wanted) && priority_allowed(server, request, wanted) && !choices_submit(work, wanted, &refusal))
    reply_engine_error(request, refusal.code, refusal.text);
}

static void fetched_handle(struct server *server, struct http_request *request, struct media_job *media);

/* What has been read goes to the engine, or waits for its images. Takes over what the task has. */
static void read_handle(struct server *server, struct http_request *request, struct body_job_task *task,
                        struct generate_request *wanted, bool read, const struct error *error) {
  struct work work = {server, request, server_loop_engine(request)};
  if (!read) {
    reply_field_error(request, 400, wanted->param, error->text);
  } else if (!task->media && media_job_needed(server, wanted)) {
    media_job_begin(server, request, wanted, &task->body, fetched_handle);
    return;
  } else if (!task->media || media_job_place(task->media, wanted)) {
    submit(&work, wanted);
  } else {
    reply_engine_error(request, SPATE_MEMORY, "Out of memory for a request.");
  }
  body_job_drop(task);
}

/* The body, or the query of a GET; a large body beside the loop. */
static void task_handle(struct server *server, struct http_request *request, struct body_job_task *task) {
  const struct http_head *head = &request->head;
  const struct served_engine *served = server_loop_engine(request);
  struct slice body = body_job_bytes(task);
  bool query = slice_is(head->method, "GET");
  struct generate_request wanted;
  struct error error;
  if (!served) {
    body_job_drop(task);
  } else if (!query && body_is_large(body)) {
    body_job_begin(server, request, task);
  } else {
    spate_request defaults = body_job_defaults(served, task->kind);
    bool read = query ? generate_request_read_query(&wanted, &defaults, head->query, &error)
                      : generate_request_read_body(&wanted, task->kind, &defaults, body, &error);
    read_handle(server, request, task, &wanted, read, &error);
    generate_request_release(&wanted);
  }
}

/* Once more from the start: the engine may be another one by now. */
static void fetched_handle(struct server *server, struct http_request *request, struct media_job *media) {
  struct body_job_task task = {.kind = media_job_kind(media), .media = media, .go_on = read_handle};
  task_handle(server, request, &task);
}

static void request_handle(struct server *server, struct http_request *request, enum request_kind kind) {
  struct body_job_task task = {.kind = kind, .go_on = read_handle};
  http_body_take(request, &task.body);
  task_handle(server, request, &task);
}

void completion_handle(struct server *server, struct http_request *request) {
  request_handle(server, request, REQUEST_COMPLETION);
}

void chat_handle(struct server *server, struct http_request *request) { request_handle(server, request, REQUEST_CHAT); }

void generate_handle(struct server *server, struct http_request *request) {
  /* A browser's EventSource connects again when a stream ends; 204 tells it to stop, where an answer would generate the
   * text once more. */
  if (http_request_header(request, "last-event-id").data)
    http_respond(request, 204, NULL, NULL, slice_text(""));
  else
    request_handle(server, request, REQUEST_GENERATE);
}
