/* The worker: what a request needs before it can be scheduled. It owns each request it takes until it passes it on.
 */
#include "base/clock.h"
#include "runtime/runtime_state.h"
#include "runtime/text_join.h"
#include "text/conversation.h"
#include "text/pair_text.h"

#include <stdlib.h>

enum { WORKER_WAIT_MS = 1000 };

/* An image of a conversation. */
struct image_take {
  const struct runtime *rt;
  struct request *r;
};

static bool image_take(void *user, struct slice url, struct error *error) {
  const struct image_take *take = user;
  struct image_source source = {.data = url, .text = true};
  return images_count_check(take->rt, take->r->images.n + 1, error) &&
         (request_images_place(&take->r->images, url) || request_images_add(&take->r->images, &source, error));
}

/* What was sent beside the conversation has found its place in it. */
static bool placed_check(const struct request_images *images, struct error *error) {
  return images->n_placed == images->n_fetched ||
         error_set(error, ERROR_INVALID,
                   "%d images were sent beside the messages, which have %d addresses of images: send one for each.",
                   images->n_fetched, images->n_placed);
}

/* With images its text stays: its tokens are complete once these are known. */
static bool conversation_tokenize(const struct runtime *rt, struct request *r, struct token_list *list,
                                  struct error *error) {
  struct image_take take = {rt, r};
  struct conversation_images images = {image_take, &take};
  struct chat_text *text = &r->images.text;
  if (!rt->chat) return error_set(error, rt->chat_problem->code, "%s", rt->chat_problem->text);
  chat_text_init(text);
  if (!conversation_write(rt->chat, slice_make(r->prompt, r->prompt_size), rt->engine->file.vision ? &images : NULL,
                          rt->tokenizer, text, error))
    return false;
  if (!placed_check(&r->images, error)) return false;
  if (r->images.n > 0) return image_prompt_check(image_store_form(rt->images), text, r->images.n, error);
  bool done = chat_text_encode(text, rt->tokenizer, list, error);
  chat_text_release(text);
  return done;
}

static bool text_tokenize(const struct runtime *rt, struct request *r, struct token_list *list, struct error *error) {
  struct slice prompt = slice_make(r->prompt, r->prompt_size);
  struct chat_text *text = &r->images.text;
  if (r->images.n == 0)
    return tokenizer_encode(rt->tokenizer, prompt, ENCODE_ADD_SPECIAL | ENCODE_PARSE_SPECIAL, list, error);
  r->images.raw = true;
  chat_text_init(text);
  return image_prompt_mark(image_store_form(rt->images), prompt, r->images.n, &text->text, error) &&
         image_prompt_check(image_store_form(rt->images), text, r->images.n, error);
}

/* Two texts that the chat template joins; what stands before the first is the instruction. */
static bool pair_encode(const struct runtime *rt, struct request *r, int32_t max, struct token_list *list,
                        struct error *error) {
  const struct engine_encoder *encoder = &rt->engine->file.facts->encoder;
  const struct pair_text pair = {.template = rt->chat,
                                 .tokenizer = rt->tokenizer,
                                 .form = (enum pair_form)encoder->pair_form,
                                 .generation_prompt = encoder->generation_prompt,
                                 .instruction = slice_make(r->prompt, r->lead_size),
                                 .query = slice_make(r->prompt + r->lead_size, r->prompt_size - r->lead_size),
                                 .document = slice_make(r->pair, r->pair_size),
                                 .most = r->last_most};
  if (!rt->chat) return error_set(error, rt->chat_problem->code, "%s", rt->chat_problem->text);
  if (!pair_text_encode(&pair, (size_t)max, r->cut > 0, list, error)) return false;
  r->generation[0].sequence.n_first = (int32_t)list->count;
  return true;
}

/* May a conversation be scored? Its contents come to the template as strings, which are nothing to one that takes
 * parts. */
static bool conversation_pair_check(const struct runtime *rt, struct slice json, struct error *error) {
  uint8_t form = rt->engine->file.facts->encoder.pair_form;
  if (form == PAIR_PARTS)
    return error_set(
        error, ERROR_UNSUPPORTED,
        "The chat template of %s takes contents as lists of parts, so that it scores no messages: send the "
        "two texts (/v1/rerank, /v1/score).",
        rt->engine->file.facts->name);
  return form == PAIR_PLAIN || pair_messages_check(json, error);
}

/* A conversation that becomes a vector, or labels: no more tokens than may be are made of it. */
static bool conversation_encode_whole(const struct runtime *rt, struct request *r, int32_t max, struct token_list *list,
                                      struct error *error) {
  struct slice json = slice_make(r->prompt, r->prompt_size);
  struct error failure = {0};
  if (!rt->chat && rt->engine->file.chat_template.size == 0)
    return error_set(error, ERROR_UNSUPPORTED, "The model has no chat template; send input instead of messages.");
  if (!rt->chat) return error_set(error, rt->chat_problem->code, "%s", rt->chat_problem->text);
  if (!conversation_pair_check(rt, json, error)) return false;
  list->max = (size_t)max;
  bool ok = conversation_encode(rt->chat, json, NULL, rt->tokenizer, list, &failure);
  bool longer = !ok && failure.code == ERROR_LIMIT && list->failed;
  r->generation[0].sequence.n_first = (int32_t)list->count;
  if (longer && r->cut == 0)
    return error_set(error, ERROR_LIMIT,
                     "The conversation has more tokens than max_seq_len %d: shorten it, or have it cut "
                     "(truncate_prompt_tokens).",
                     max);
  return ok || longer || error_set(error, failure.code, "%s", failure.text);
}

/* Tokens of the prompt before a text, which do not count among the text's. One that the prompt's end and the text's
 * beginning are together is the text's: `whole` is both. */
static bool lead_count(const struct runtime *rt, struct slice lead, struct slice whole, int32_t *count,
                       struct error *error) {
  struct token_list own, all;
  size_t most = (size_t)rt->engine->file.facts->config.max_input_len, same = 0;
  *count = 0;
  if (lead.size == 0) return true;
  token_list_init(&own, most);
  token_list_init(&all, most);
  bool ok = tokenizer_encode_first(rt->tokenizer, lead, ENCODE_PARSE_SPECIAL, &own, error);
  all.max = own.count;
  ok = ok && (own.count == 0 || tokenizer_encode_first(rt->tokenizer, whole, ENCODE_PARSE_SPECIAL, &all, error));
  while (same < own.count && same < all.count && own.ids[same] == all.ids[same]) same++;
  *count = (int32_t)same;
  token_list_release(&own);
  token_list_release(&all);
  return ok;
}

static bool texts_encode(const struct runtime *rt, struct request *r, struct token_list *list, struct error *error) {
  const struct engine_facts *facts = rt->engine->file.facts;
  int32_t most = facts->config.max_input_len;
  struct text_join join = {.tokenizer = rt->tokenizer,
                           .frame = r->pair ? &facts->encoder.two : &facts->encoder.one,
                           .max_tokens = r->cut > 0 && r->cut < most ? r->cut : most,
                           .cut = r->cut > 0};
  if (r->chat) return conversation_encode_whole(rt, r, join.max_tokens, list, error);
  if (r->pair && facts->encoder.pair_form != PAIR_PLAIN) return pair_encode(rt, r, join.max_tokens, list, error);
  struct sequence *q = &r->generation[0].sequence;
  struct slice lead = slice_make(r->prompt, r->lead_size);
  int32_t before = 0;
  if (r->last_most > 0 && !lead_count(rt, lead, slice_make(r->prompt, r->prompt_size), &before, error)) return false;
  if (r->last_most > 0) join.most[r->pair != NULL] = before + r->last_most;
  q->second_type = join.frame->second_type;
  return text_join_encode(&join, slice_make(r->prompt, r->prompt_size), slice_make(r->pair, r->pair_size), list,
                          &q->n_first, error) &&
         (lead.size == 0 || !facts->encoder.without_prompt ||
          text_join_lead(&join, lead, (int32_t)list->count - 1, &q->n_lead, error));
}

static bool prompt_encode(const struct runtime *rt, struct request *r, struct token_list *list, struct error *error) {
  return r->chat ? conversation_tokenize(rt, r, list, error) : text_tokenize(rt, r, list, error);
}

static bool prompt_tokenize(struct runtime *rt, struct request *r, struct token_list *list, struct error *error) {
  int32_t max = rt->engine->file.facts->config.max_input_len;
  if (r->n_number > 0 && !texts_encode(rt, r, list, error)) return false;
  if (r->n_number > 0) return list->count > 0 || error_set(error, ERROR_INVALID, "The text is empty: send some.");
  if (!prompt_encode(rt, r, list, error)) {
    if (error->code != ERROR_LIMIT || !list->failed) return false;
    return error_set(error, ERROR_LIMIT, "The prompt has more tokens than max_input_len %d: shorten it.", max);
  }
  if (list->count > 0 || r->images.n > 0) return true;
  return error_set(error, ERROR_INVALID, "The prompt is empty and the tokenizer adds nothing to it: send some text.");
}

/* What a request cannot help are memory, and a model without a template. */
static bool request_is_unfit(const struct runtime *rt, const struct request *r, enum error_code code) {
  return (!r->chat || rt->chat) && (code == ERROR_LIMIT || code == ERROR_INVALID || code == ERROR_UNSUPPORTED);
}

/* A conversation that is large for its images' sake takes long to read: a thread of the store does, beside which others
 * get their tokens. */
static bool conversation_is_large(const struct runtime *rt, const struct request *r) {
  return r->chat && rt->images && r->prompt_size > LIMIT_BODY_BYTES;
}

static bool prompt_prepare(struct runtime *rt, struct request *r, struct error *error) {
  struct token_list list;
  token_list_init(&list, (size_t)rt->engine->file.facts->config.max_input_len);
  bool ready = prompt_tokenize(rt, r, &list, error);
  if (r->images.n == 0) {
    ready = ready && runtime_answer_fit(rt, (int32_t)list.count, &r->max_tokens, r->n_beam, error) &&
            request_set_tokens(r, list.ids, (int32_t)list.count, error);
    if (ready) request_table_recount(&rt->table, r, request_tokens(r, (int32_t)list.count));
  }
  token_list_release(&list);
  free(r->prompt);
  r->prompt = NULL;
  return ready;
}

bool request_tokenize(struct runtime *rt, struct request *r) {
  struct error error = {0};
  bool wanted = !atomic_load(&r->cancelled) && atomic_load(&r->place) != REQUEST_SHED;
  bool ready = wanted && prompt_prepare(rt, r, &error);
  if (error.code) {
    r->unfit = request_is_unfit(rt, r, error.code);
    r->error = error;
  }
  return ready;
}

/* To the store where it has images, or may have; otherwise to the step thread. */
static void request_pass(struct runtime *rt, struct request *r) {
  bool large = conversation_is_large(rt, r);
  if ((large || request_tokenize(rt, r)) && (large || r->images.n > 0) &&
      image_store_queue(rt->images, r, request_image_turn(r), &r->error))
    return; /* it goes on from there */
  mailbox_put(&rt->to_step, &r->letter);
}

void *worker_thread(void *argument) {
  struct runtime *rt = argument;
  for (;;) {
    bool last = atomic_load(&rt->stopping); /* read before taking, so that nothing put before it is left behind */
    struct letter *letter = mailbox_take(&rt->to_worker);
    while (letter) {
      struct request *r = (struct request *)(void *)letter;
      letter = letter->next;
      request_pass(rt, r);
    }
    if (last) return NULL;
    mailbox_wait(&rt->to_worker, WORKER_WAIT_MS);
  }
}
