/* The stages before packing. */
#include "build/draft.h"

#include "base/limits.h"
#include "base/log.h"
#include "build/quant_override.h"
#include "build/scheme_choice.h"
#include "model/encoder_frame.h"
#include "model/encoder_labels.h"
#include "model/family.h"
#include "model/rank_words.h"
#include "model/sentence_config.h"
#include "model/text_tail.h"
#include "text/pair_text.h"
#include "text/vocab_files.h"
#include "text/vocab_gguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

enum { PLAN_BYTES_MAX = 256 << 20 };

void draft_init(struct draft *draft) {
  *draft = (struct draft){0};
  for (int role = 0; role < PLAN_ROLES; role++) buffer_init(&draft->block[role], PLAN_BYTES_MAX);
  buffer_init(&draft->tokenizer_blob, LIMIT_TOKENIZER_BYTES);
}

void draft_release(struct draft *draft) {
  tokenizer_close(draft->tokenizer);
  checkpoint_close(draft->checkpoint);
  for (int role = 0; role < PLAN_ROLES; role++) buffer_release(&draft->block[role]);
  buffer_release(&draft->tokenizer_blob);
  free(draft->notes);
}

static void generation_copy(struct engine_generation *to, const struct checkpoint_generation *from) {
  _Static_assert((int)GENERATION_END_MAX == (int)CHECKPOINT_ENDS, "as many ends of text in a file as in a checkpoint");
  *to = (struct engine_generation){.temperature = from->temperature,
                                   .top_p = from->top_p,
                                   .min_p = from->min_p,
                                   .typical_p = from->typical_p,
                                   .repetition_penalty = from->repetition_penalty,
                                   .top_k = from->top_k};
  for (int i = 0; i < from->n_end; i++) to->end[to->n_end++] = from->end[i];
}

bool draft_open(struct draft *draft, const char *model, struct error *error) {
  struct engine_facts *facts = &draft->facts;
  draft->checkpoint = checkpoint_open_for(model, draft->ranks, error);
  if (!draft->checkpoint) return false;
  draft->chat_template = checkpoint_chat_template(draft->checkpoint);
  snprintf(facts->name, sizeof facts->name, "%s", checkpoint_name(draft->checkpoint));
  snprintf(facts->architecture, sizeof facts->architecture, "%s", checkpoint_architecture(draft->checkpoint));
  facts->created = (int64_t)time(NULL);
  generation_copy(&facts->generation, checkpoint_generation(draft->checkpoint));
  return true;
}

static bool all_supported(const struct plan *plan, const struct backend *backend, struct error *error) {
  for (int i = 0; i < plan->n_op; i++)
    if (!backend->supports(plan, i, error)) return false;
  return true;
}

/* The encoder of images; where the backend has no kernels for it, the engine is one of text alone. */
static bool encoder_settle(struct draft *draft, const struct scheme_wish *wish, const struct backend *backend,
                           struct error *error) {
  struct plan *vision = draft_vision(draft);
  if (!vision) return true;
  if (scheme_choose(vision, draft->checkpoint, wish, backend, draft->notes + draft_plan(draft)->n_weight, error) &&
      all_supported(vision, backend, error))
    return plan_check(buffer_slice(&draft->block[PLAN_VISION]), error);
  if (error->code != ERROR_UNSUPPORTED) return false;
  log_warning("The encoder of images is left out, so that the engine takes text alone: %s", error->text);
  buffer_clear(&draft->block[PLAN_VISION]);
  return true;
}

static bool schemes_settle(struct draft *draft, const struct backend *backend, struct error *error) {
  struct plan *plan = draft_plan(draft), *vision = draft_vision(draft);
  struct scheme_wish wish = {(enum quant_mode)draft->facts.config.quant_mode, draft->overrides, draft->emulate,
                             draft->target_bits};
  return quant_overrides_check(wish.overrides, plan, vision, error) &&
         scheme_choose(plan, draft->checkpoint, &wish, backend, draft->notes, error) &&
         plan_check(buffer_slice(&draft->block[PLAN_DECODER]), error) && encoder_settle(draft, &wish, backend, error);
}

static struct text_frame frame_copy(const struct encoder_frame *from) {
  struct text_frame to = {.second_type = from->second_type};
  _Static_assert((int)FRAME_IDS == (int)ENCODER_FRAME_IDS, "as many tokens around a text in a file as in a checkpoint");
  memcpy(to.before, from->before, sizeof to.before);
  memcpy(to.middle, from->middle, sizeof to.middle);
  memcpy(to.after, from->after, sizeof to.after);
  return to;
}

static bool labels_make(struct draft *draft, struct error *error) {
  struct engine_encoder *encoder = &draft->facts.encoder;
  const struct plan *plan = draft_plan(draft);
  enum label_act act;
  struct buffer names;
  buffer_init(&names, ENCODER_LABEL_BYTES);
  encoder->n_label = plan_values(plan)[plan_result(plan)].cols;
  bool ok = encoder_label_act(draft->checkpoint, encoder->n_label, &act, error) &&
            encoder_label_names(draft->checkpoint, encoder->n_label, &names, error);
  if (ok) encoder->label_act = (uint8_t)act;
  if (ok) memcpy(encoder->labels, names.data, names.size);
  buffer_release(&names);
  return ok;
}

/* Texts that requests may have put before theirs, and how vectors are compared. */
static bool prompts_make(struct draft *draft, const struct sentence_config *sentence, struct error *error) {
  _Static_assert((int)LIKENESSES == (int)VECTOR_MEASURES && (int)LIKENESS_MANHATTAN == (int)MEASURE_MANHATTAN,
                 "as many ways to compare vectors in a file as in a checkpoint");
  struct engine_encoder *encoder = &draft->facts.encoder;
  struct sentence_prompts prompts;
  struct buffer texts;
  buffer_init(&texts, ENCODER_PROMPT_BYTES);
  bool ok = sentence_prompts_read(&prompts, &texts, draft->checkpoint, error);
  encoder->without_prompt = sentence->without_prompt && sentence->pool != POOL_TOKEN;
  encoder->n_prompt = prompts.n;
  encoder->usual_prompt = prompts.usual + 1;
  encoder->measure = (uint8_t)prompts.likeness;
  if (ok && texts.size > 0) memcpy(encoder->prompts, texts.data, texts.size);
  buffer_release(&texts);
  return ok;
}

static bool template_joins(struct slice source, bool generation_prompt, enum pair_form *form, struct error *error) {
  struct chat_template *template = chat_template_open(source, error);
  bool ok = template && pair_form_find(template, generation_prompt, form, error);
  chat_template_close(template);
  return ok;
}

/* Is the folder's own template one of a query and a document, and not of conversations of any roles? */
static bool template_ranks(struct slice source, bool generation_prompt, bool *ranks, struct error *error) {
  struct error why = {0};
  enum pair_form form;
  struct chat_template *template = chat_template_open(source, error);
  bool ok = template != NULL, joins = ok && pair_form_find(template, generation_prompt, &form, &why);
  *ranks = false;
  if (why.code == ERROR_MEMORY) ok = error_set(error, why.code, "%s", why.text);
  if (joins) ok = pair_roles_matter(template, generation_prompt, form, ranks, error);
  chat_template_close(template);
  return ok;
}

/* A ranker by words whose folder has no template for that, but one for conversations of any roles, or none, has the
 * prompt that Qwen3-Reranker was trained with, if it is one. */
static bool words_template_settle(struct draft *draft, bool generation_prompt, struct error *error) {
  struct slice own = draft->chat_template;
  bool ranks = false;
  if (own.size > 0 && !template_ranks(own, generation_prompt, &ranks, error)) return false;
  if (ranks) return true;
  if (strncmp(draft->facts.architecture, "Qwen3For", 8) != 0)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The chat template of %s is not one of a query and a document: a ranker by words needs one, in "
                     "chat_template.jinja, of messages of these roles.",
                     draft->facts.name);
  if (own.size > 0)
    log_warning("The chat template of %s is one of conversations, not of a query and a document: it scores behind the "
                "prompt that Qwen3-Reranker was trained with instead.",
                draft->facts.name);
  draft->chat_template = slice_text(rank_words_template);
  return true;
}

/* A ranker whose chat template joins two texts has one that does. */
static bool pairs_settle(struct draft *draft, const struct sentence_config *sentence, struct error *error) {
  struct engine_encoder *encoder = &draft->facts.encoder;
  enum pair_form form = PAIR_PLAIN;
  if (sentence->yes < 0) return true;
  if (checkpoint_words(draft->checkpoint) && !words_template_settle(draft, sentence->generation_prompt, error))
    return false;
  bool ok = template_joins(draft->chat_template, sentence->generation_prompt, &form, error);
  encoder->pair_form = (uint8_t)form;
  encoder->generation_prompt = sentence->generation_prompt;
  return ok;
}

/* Does each text have its last token's numbers, which know of none behind it? */
static bool last_token_decides(const struct plan *plan) {
  for (int i = 0; i < plan->n_op; i++)
    if (plan_ops(plan)[i].kind == OP_ATTEND && !plan_ops(plan)[i].args.attend.causal) return false;
  return !plan_pools(plan);
}

/* What serving is to do with an encoder's numbers, and how long its texts are as a rule. */
static bool encoder_facts_make(struct draft *draft, struct error *error) {
  struct engine_encoder *encoder = &draft->facts.encoder;
  struct engine_config *config = &draft->facts.config;
  const struct plan *plan = draft_plan(draft);
  struct sentence_config sentence;
  struct encoder_frame one, two;
  if (!sentence_config_read(&sentence, draft->checkpoint, error) ||
      !encoder_frame_read(draft->checkpoint, &one, &two, error))
    return false;
  if (text_classifies(draft->checkpoint) && last_token_decides(plan) &&
      !encoder_frame_unpad(draft->checkpoint, &one, &two, error))
    return false;
  encoder->one = frame_copy(&one);
  encoder->two = frame_copy(&two);
  config->encodes = 1;
  bool shorter = sentence.max_length < plan->max_position && sentence.max_length < engine_config_length(config);
  if (config->max_seq_len == 0 && sentence.max_length > 0 && shorter) config->max_seq_len = sentence.max_length;
  encoder->task = text_classifies(draft->checkpoint) || sentence.yes >= 0 ? TASK_CLASSIFY : TASK_EMBED;
  encoder->normalize = encoder->task == TASK_EMBED && sentence.normalize;
  return prompts_make(draft, &sentence, error) && pairs_settle(draft, &sentence, error) &&
         (encoder->task == TASK_EMBED || labels_make(draft, error));
}

static bool rank_check(const struct draft *draft, struct error *error) {
  const struct engine_encoder *encoder = &draft->facts.encoder;
  if (encoder->task == TASK_CLASSIFY && encoder->n_label == 1) return true;
  return error_set(error, ERROR_INVALID, "rerank is set, and the model %s %s: it has no score of two texts.",
                   draft->facts.name,
                   encoder->task == TASK_EMBED      ? "makes vectors of texts"
                   : encoder->task == TASK_CLASSIFY ? "tells several labels"
                                                    : "generates text, and its file is not a ranker's");
}

bool draft_settle(struct draft *draft, const struct engine_config *config, const struct backend *backend,
                  struct error *error) {
  const struct family *family = family_find(draft->checkpoint, error);
  if (!family || !family_plan(family, draft->checkpoint, engine_config_length(config), draft->block, error)) {
    for (int role = 0; role < PLAN_ROLES; role++) buffer_clear(&draft->block[role]);
    return false;
  }
  const struct plan *plan = draft_plan(draft), *vision = draft_vision(draft);
  size_t n_weight = (size_t)plan->n_weight + (size_t)(vision ? vision->n_weight : 0);
  snprintf(draft->facts.gguf_architecture, sizeof draft->facts.gguf_architecture, "%s",
           family_gguf_name(family, draft->checkpoint));
  draft->facts.config = *config;
  draft->notes = calloc(n_weight + 1, sizeof *draft->notes);
  if (!draft->notes) return error_set(error, ERROR_MEMORY, "Out of memory for %zu weights.", n_weight);
  if (plan->role == PLAN_ENCODER && !encoder_facts_make(draft, error)) return false;
  if (draft->ranks && !rank_check(draft, error)) return false;
  return engine_config_complete(&draft->facts.config, plan->max_position, error) &&
         schemes_settle(draft, backend, error);
}

static bool tokenizer_compile(struct draft *draft, struct error *error) {
  const struct checkpoint *checkpoint = draft->checkpoint;
  const struct gguf *gguf = checkpoint_gguf(checkpoint);
  if (gguf) return tokenizer_compile_gguf(gguf, &draft->tokenizer_blob, error);
  const char *name;
  struct slice file = checkpoint_vocabulary(checkpoint, &name), config = checkpoint_tokenizer_config(checkpoint);
  if (file.size > 0) return tokenizer_compile_file(name, file, config, &draft->tokenizer_blob, error);
  return error_set(error, ERROR_NOT_FOUND,
                   "%s has no tokenizer.json, nor a tokenizer.model or tekken.json; save the model with its tokenizer.",
                   checkpoint_path(checkpoint));
}

bool draft_tokenizer(struct draft *draft, struct error *error) {
  if (!tokenizer_compile(draft, error)) return false;
  draft->tokenizer = tokenizer_open(buffer_slice(&draft->tokenizer_blob), error);
  if (!draft->tokenizer) return false;
  size_t tokens = tokenizer_vocab(draft->tokenizer);
  if (draft->block[PLAN_DECODER].size == 0 || tokens <= (size_t)draft_plan(draft)->vocab) return true;
  return error_set(error, ERROR_FORMAT, "The tokenizer has %zu tokens and the model's embedding %d rows.", tokens,
                   draft_plan(draft)->vocab);
}
