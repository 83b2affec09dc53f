/* What stands for a request's images in its prompt: the last that is made of it before it can be scheduled. In a thread
 * of the store. */
#include "base/limits.h"
#include "runtime/runtime_state.h"

static const struct stored_image *image_of(const struct request_images *images, int32_t index) {
  return (const struct stored_image *)(const void *)images->claim.entry[index];
}

/* Puts what stands for each image in its place, and finds it again among the tokens. */
static bool text_expand(struct request_images *images, struct token_list *out, struct error *error) {
  const struct image_form *form = image_store_form(images->store);
  const struct image_shape *shape[LIMIT_REQUEST_IMAGES];
  unsigned flags = ENCODE_PARSE_SPECIAL | (images->raw ? (unsigned)ENCODE_ADD_SPECIAL : 0);
  struct chat_text whole;
  chat_text_init(&whole);
  for (int32_t i = 0; i < images->n; i++) shape[i] = &image_of(images, i)->shape;
  bool done = image_prompt_write(form, &images->text, shape, images->n, &whole, error) &&
              tokenizer_encode_guarded(form->tokenizer, buffer_slice(&whole.text), flags, whole.plain, whole.n_plain,
                                       out, error);
  chat_text_release(&whole);
  if (out->failed)
    return error_set(error, ERROR_LIMIT,
                     "The prompt with its images has more than max_input_len %zu tokens: send fewer or smaller ones.",
                     out->max);
  if (!done || !image_prompt_place(form, shape, images->n, out, &images->layout, error)) return false;
  for (int32_t i = 0; i < images->n; i++) images->layout.span[i].hash = images->claim.entry[i]->hash;
  return true;
}

/* Images whose tokens see each other are computed in one step. */
static bool steps_check(const struct runtime *rt, const struct request *r, struct error *error) {
  const struct sequence *q = &r->generation[0].sequence;
  int most = schedule_image_most(rt->schedule, q->scores_prompt);
  for (int32_t i = 0; rt->engine->file.vision->vision.mutual && i < r->images.layout.n_image; i++) {
    const struct image_span *span = &r->images.layout.image[i];
    if (span->lines * span->columns > most)
      return error_set(error, ERROR_LIMIT, "An image's %d tokens are of one step, which has room for %d of them%s.",
                       span->lines * span->columns, most,
                       q->scores_prompt ? " where a prompt's log-probabilities are wanted: leave prompt_logprobs out"
                                        : " beside others: give the engine more (--max-num-tokens)");
  }
  return true;
}

static bool prompt_set(struct runtime *rt, struct request *r, const struct token_list *list, struct error *error) {
  const struct image_layout *layout = &r->images.layout;
  int32_t count = (int32_t)list->count;
  r->images.row = calloc((size_t)count + 1, sizeof *r->images.row);
  if (!r->images.row) return error_set(error, ERROR_MEMORY, "Out of memory for a prompt of %d tokens.", count);
  if (!steps_check(rt, r, error) || !runtime_answer_fit(rt, count, &r->max_tokens, r->n_beam, error) ||
      !request_set_tokens(r, list->ids, count, error))
    return false;
  for (int i = 0; i < r->n_generation; i++) {
    struct sequence *q = &r->generation[i].sequence;
    q->n_span = r->images.n;
    q->span = layout->span;
    q->n_image = layout->n_image;
    q->image = layout->image;
    q->embed = r->images.row;
    q->unready = true;
  }
  request_table_recount(&rt->table, r, request_tokens(r, count));
  return true;
}

bool request_images_expand(struct runtime *rt, struct request *r, struct error *error) {
  struct token_list list;
  token_list_init(&list, (size_t)rt->engine->file.facts->config.max_input_len);
  bool done = text_expand(&r->images, &list, error) && prompt_set(rt, r, &list, error);
  token_list_release(&list);
  return done;
}
