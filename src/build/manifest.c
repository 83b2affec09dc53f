/* Writing the manifest. */
#include "build/manifest.h"

#include "base/json.h"
#include "build/auto_choice.h"
#include "format/tensor.h"

#include <inttypes.h>

static void text_write(struct buffer *json, const char *key, const char *text) {
  buffer_print(json, "\"%s\":", key);
  json_write_string(json, slice_text(text));
}

/* What was asked for, in the names of the build's options. */
static void config_write(const struct draft *draft, struct buffer *json) {
  const struct engine_config *c = &draft->facts.config;
  buffer_print(json,
               "\"max_batch_size\":%d,\"opt_batch_size\":%d,\"max_input_len\":%d,\"max_seq_len\":%d,"
               "\"max_num_tokens\":%d,\"kv_cache_type\":\"%s\",\"quant_mode\":\"%s\",\"quant_algo\":\"%s\",",
               c->max_batch_size, c->opt_batch_size, c->max_input_len, c->max_seq_len, c->max_num_tokens,
               kv_cache_type_name(c->kv_cache_type), quant_mode_name(c->quant_mode),
               quant_method_name(c->quant_method));
  text_write(json, "quant_override", draft->overrides ? draft->overrides : "");
  if (draft->target_bits == 0) return;
  buffer_text(json, ",\"target_bits\":");
  json_write_number(json, draft->target_bits);
}

static void facts_write(const struct draft *draft, struct buffer *json) {
  const struct engine_facts *facts = &draft->facts;
  const struct engine_generation *g = &facts->generation;
  text_write(json, "name", facts->name);
  buffer_text(json, ",");
  text_write(json, "architecture", facts->architecture);
  buffer_print(json, ",\"created\":%" PRId64 ",\"config\":{", facts->created);
  config_write(draft, json);
  buffer_text(json, "}");
  buffer_text(json, ",\"generation\":{\"temperature\":");
  json_write_number(json, (double)g->temperature);
  buffer_text(json, ",\"top_p\":");
  json_write_number(json, (double)g->top_p);
  buffer_text(json, ",\"min_p\":");
  json_write_number(json, (double)g->min_p);
  buffer_text(json, ",\"typical_p\":");
  json_write_number(json, (double)g->typical_p);
  buffer_text(json, ",\"repetition_penalty\":");
  json_write_number(json, (double)g->repetition_penalty);
  buffer_print(json, ",\"top_k\":%d,\"end\":[", g->top_k);
  for (int i = 0; i < g->n_end; i++) buffer_print(json, "%s%d", i ? "," : "", g->end[i]);
  buffer_text(json, "]}");
}

void manifest_write_tokenizer(const struct tokenizer *tokenizer, struct buffer *json) {
  const struct tokenizer_facts *t = tokenizer_facts(tokenizer);
  buffer_text(json, "{");
  text_write(json, "kind", t->name);
  buffer_print(json,
               ",\"vocabulary\":%zu,\"merges\":%zu,\"added\":%zu,\"bos\":%d,\"eos\":%d,\"unk\":%d,\"pad\":%d,"
               "\"add_bos\":%s,\"add_eos\":%s,\"end\":[",
               t->n_vocab, t->n_merge, t->n_added, t->bos, t->eos, t->unk, t->pad, t->add_bos ? "true" : "false",
               t->add_eos ? "true" : "false");
  for (int i = 0; i < t->n_end; i++) buffer_print(json, "%s%d", i ? "," : "", t->end[i]);
  buffer_text(json, "]}");
}

static void part_write(const struct manifest *m, const struct plan *plan, const struct weight_part *part,
                       struct buffer *json) {
  const char *name = plan_name(plan, part->tensor);
  char first[EXPERT_NAME_BYTES];
  const struct tensor *tensor =
      checkpoint_find(m->draft->checkpoint, expert_tensor_apart(name) ? expert_tensor_name(name, 0, first) : name);
  char storage[TENSOR_STORAGE_TEXT];
  buffer_text(json, "{");
  text_write(json, "tensor", name);
  buffer_print(json, ",\"type\":\"%s\",\"first\":%d,\"rows\":%d}", tensor ? tensor_storage(tensor, storage) : "",
               part->first, part->rows);
}

/* Weight i of the plan, which the writer has as `index`. */
static void weight_write(const struct manifest *m, const struct plan *plan, int i, int index, struct buffer *json) {
  const struct weight *w = &plan_weights(plan)[i];
  const struct engine_weight *place = &m->writer->weights[index];
  char scheme[48];
  buffer_text(json, "{");
  text_write(json, "name", plan_name(plan, w->name));
  buffer_print(json,
               ",\"rows\":%d,\"cols\":%d,\"scheme\":\"%s\",\"offset\":%" PRIu64 ",\"bytes\":%" PRIu64 ",\"parts\":[",
               weight_rows(w), w->cols, scheme_name(&w->scheme, scheme), place->offset, place->bytes);
  for (int part = 0; part < w->n_part; part++) {
    if (part) buffer_text(json, ",");
    part_write(m, plan, &w->part[part], json);
  }
  buffer_text(json, "]");
  if (w->n_expert > 0) buffer_print(json, ",\"experts\":%d", w->n_expert);
  if (m->draft->notes[index]) {
    buffer_text(json, ",");
    text_write(json, "note", m->draft->notes[index]);
  }
  buffer_text(json, "}");
}

/* Those of a plan, the first of which the writer has as `first`. */
static void weights_write(const struct manifest *m, const struct plan *plan, int first, struct buffer *json) {
  for (int i = 0; i < plan->n_weight; i++) {
    if (first + i) buffer_text(json, ",");
    weight_write(m, plan, i, first + i, json);
  }
}

void manifest_write(const struct manifest *m, struct buffer *json) {
  char digest[33];
  hash_format(m->source, digest);
  buffer_print(json, "{\"format\":%d,\"target\":\"%s\",\"layout\":%" PRIu32 ",\"spate\":\"" SPATE_VERSION "\",",
               ENGINE_FILE_VERSION, m->writer->header.target, m->writer->header.layout);
  facts_write(m->draft, json);
  buffer_print(json, ",\"source\":{\"digest\":\"%s\",\"model\":", digest);
  checkpoint_facts(m->draft->checkpoint, json);
  buffer_text(json, "},\"tokenizer\":");
  manifest_write_tokenizer(m->draft->tokenizer, json);
  if (m->merged) {
    buffer_text(json, ",");
    text_write(json, "merge_lora", m->merged);
  }
  if (m->n_expert > 0) buffer_print(json, ",\"calibration\":{\"experts\":%d,\"few\":%d}", m->n_expert, m->n_few);
  if (m->evaluation.size > 0) {
    buffer_text(json, ",\"evaluation\":");
    buffer_append(json, m->evaluation.data, m->evaluation.size);
  }
  buffer_text(json, ",\"average_bits\":");
  json_write_number(json, auto_average(draft_plan(m->draft), m->writer->backend));
  const struct plan *plan = draft_plan(m->draft), *vision = draft_vision(m->draft);
  buffer_text(json, ",\"weights\":[");
  weights_write(m, plan, 0, json);
  if (vision) weights_write(m, vision, plan->n_weight, json);
  buffer_text(json, "]}\n");
}
