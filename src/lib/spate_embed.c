/* spate_embed.h: requests for vectors, and the labels of classifiers. */
#include "spate.h"

#include "lib/spate_state.h"
#include "lib/public_options.h"

static bool request_check(const spate_embed_request *r, struct error *error) {
  bool text = r->text != NULL || r->n_token > 0;
  if (r->n_token < 0 || !text || (r->n_token > 0 && (!r->tokens || r->text || r->pair)))
    return error_set(error, ERROR_INVALID, "A text is wanted, perhaps with a second one, or tokens, and not both.");
  return true;
}

uint64_t spate_embed(spate_engine *engine, spate_inbox *inbox, const spate_embed_request *request, spate_error *error) {
  struct error detail = {0};
  spate_embed_request copy;
  uint64_t id = 0;
  spate_embed_request_init(&copy);
  memcpy(&copy, request, request->size < sizeof copy ? request->size : sizeof copy);
  if (request_check(&copy, &detail)) {
    struct request_params params = {.prompt = slice_make(copy.text, copy.text ? copy.text_size : 0),
                                    .vector = true,
                                    .pair = slice_make(copy.pair, copy.pair ? copy.pair_size : 0),
                                    .dimensions = copy.dimensions,
                                    .cut = copy.truncate,
                                    .plain = copy.plain,
                                    .tokens = copy.tokens,
                                    .n_token = copy.n_token,
                                    .n_answer = 1,
                                    .max_tokens = 1,
                                    .sampling = {.top_p = 1},
                                    .priority = copy.priority,
                                    .tenant = copy.tenant,
                                    .timeout_s = copy.timeout_s};
    id = runtime_submit(engine->runtime, inbox->inbox, &params, &detail);
  }
  if (id == 0) error_export(&detail, error);
  return id;
}

const char *spate_label(const spate_engine *engine, int label) {
  const struct engine_encoder *encoder = &engine->loaded->file.facts->encoder;
  const char *name = encoder->labels;
  if (label < 0 || label >= encoder->n_label) return NULL;
  while (label-- > 0) name += strlen(name) + 1;
  return name;
}
