/* spate_embed.h: requests for vectors, and the labels of classifiers. */
#include "spate.h"

#include "base/limits.h"
#include "lib/spate_state.h"
#include "lib/public_options.h"
#include "text/pair_text.h"

static bool request_check(const spate_embed_request *r, struct error *error) {
  bool text = r->text != NULL || r->n_token > 0;
  if (r->behind < 0) return error_set(error, ERROR_INVALID, "behind is %d, expected 0 or more.", r->behind);
  if (r->max_tokens_per_doc < 0 || r->max_tokens_per_doc > LIMIT_MODEL_POSITIONS)
    return error_set(error, ERROR_INVALID, "max_tokens_per_doc is %d, expected 0 to %d.", r->max_tokens_per_doc,
                     LIMIT_MODEL_POSITIONS);
  if (r->chat && (!r->text || r->pair))
    return error_set(error, ERROR_INVALID, "A conversation is one text, without tokens or a second one.");
  if (r->n_token < 0 || !text || (r->n_token > 0 && (!r->tokens || r->text || r->pair)))
    return error_set(error, ERROR_INVALID, "A text is wanted, perhaps with a second one, or tokens, and not both.");
  if (r->max_tokens_per_doc > 0 && (r->chat || r->n_token > 0))
    return error_set(error, ERROR_INVALID,
                     "max_tokens_per_doc cuts texts, not a conversation and not tokens: see truncate.");
  return true;
}

/* What a request asks of the model's prompts, which are a template's instruction where one joins two texts. */
static bool prompt_check(const spate_engine *engine, const spate_embed_request *r, struct error *error) {
  const struct engine_facts *facts = engine->loaded->file.facts;
  bool named = r->prompt_name && *r->prompt_name, joins = facts->encoder.pair_form != PAIR_PLAIN;
  if (joins && r->n_token == 0 && !r->pair && !r->chat)
    return error_set(error, ERROR_INVALID,
                     "The model %s scores two texts, which its chat template joins: send both (/v1/rerank, /v1/score), "
                     "messages of the roles query and document, or the tokens of a conversation.",
                     facts->name);
  if (r->instruct && (!joins || !r->pair || r->prompt_name))
    return error_set(error, ERROR_INVALID,
                     "instruct goes with two texts of a ranker by yes and no, whose chat template joins them, and "
                     "without a prompt_name; the model is %s.",
                     facts->name);
  if (named && (r->n_token > 0 || r->chat || (r->pair && !joins)))
    return error_set(error, ERROR_INVALID,
                     "A prompt_name goes with a text alone, not with token ids, messages or a pair.");
  return true;
}

/* What stands before the text: nothing, where ids are given. */
static bool prompt_find(const spate_engine *engine, const spate_embed_request *r, struct slice *lead,
                        struct error *error) {
  const struct engine_encoder *encoder = &engine->loaded->file.facts->encoder;
  bool named = r->prompt_name && *r->prompt_name;
  const char *text = r->prompt_name && !named ? "" : encoder_prompt(encoder, r->prompt_name);
  if (!prompt_check(engine, r, error)) return false;
  if (!text)
    return error_set(
        error, ERROR_INVALID,
        "prompt_name is \"%.60s\"; the model %s has %d prompts (config_sentence_transformers.json), none of "
        "that name.",
        r->prompt_name, engine->loaded->file.facts->name, encoder->n_prompt);
  if (r->instruct)
    *lead = slice_make(r->instruct, r->instruct_size);
  else if (r->n_token == 0 && !r->chat && (!r->pair || encoder->pair_form != PAIR_PLAIN))
    *lead = slice_text(text);
  return true;
}

static struct request_params params_make(const spate_embed_request *r, struct slice lead) {
  return (struct request_params){.prompt = slice_make(r->text, r->text ? r->text_size : 0),
                                 .vector = true,
                                 .lead = lead,
                                 .again = r->again,
                                 .behind = r->behind,
                                 .pair = slice_make(r->pair, r->pair ? r->pair_size : 0),
                                 .dimensions = r->dimensions,
                                 .cut = r->truncate,
                                 .last_most = r->max_tokens_per_doc,
                                 .chat = r->chat,
                                 .plain = r->plain,
                                 .tokens = r->tokens,
                                 .n_token = r->n_token,
                                 .n_answer = 1,
                                 .max_tokens = 1,
                                 .sampling = {.top_p = 1},
                                 .priority = r->priority,
                                 .tenant = r->tenant,
                                 .timeout_s = r->timeout_s};
}

uint64_t spate_embed(spate_engine *engine, spate_inbox *inbox, const spate_embed_request *request, spate_error *error) {
  struct error detail = {0};
  struct slice lead = {0};
  spate_embed_request copy;
  uint64_t id = 0;
  spate_embed_request_init(&copy);
  memcpy(&copy, request, request->size < sizeof copy ? request->size : sizeof copy);
  if (request_check(&copy, &detail) && prompt_find(engine, &copy, &lead, &detail)) {
    struct request_params params = params_make(&copy, lead);
    id = runtime_submit(engine->runtime, inbox->inbox, &params, &detail);
  }
  if (id == 0) error_export(&detail, error);
  return id;
}

const char *spate_prompt(const spate_engine *engine, const char *name) {
  return encoder_prompt(&engine->loaded->file.facts->encoder, name);
}

const char *spate_label(const spate_engine *engine, int label) {
  const struct engine_encoder *encoder = &engine->loaded->file.facts->encoder;
  const char *name = encoder->labels;
  if (label < 0 || label >= encoder->n_label) return NULL;
  while (label-- > 0) name += strlen(name) + 1;
  return name;
}
