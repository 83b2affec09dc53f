/* The Llama family: pre-norm, rotary attention with grouped heads, a gated SiLU feed-forward. Its members differ in a
 * few settings: Mistral and some Qwen 2 see a sliding window, Qwen 2 has biases on q, k and v, Qwen 3 norms q and k. */
#include "format/gguf_adapter.h"
#include "model/encoder_labels.h"
#include "model/family.h"
#include "model/llama_text.h"
#include "model/vision_tower.h"

#include <math.h>
#include <stdio.h>

struct llama_member {
  bool qkv_bias; /* Hugging Face: without asking the config */
  bool qk_norm;
  bool window;     /* the config's sliding window applies */
  bool window_opt; /* … only if use_sliding_window says so */
  bool grows;      /* Hugging Face: what attention makes of scores grows with the position */
};

static const struct architecture architectures[] = {{"LlamaForCausalLM", "llama"},
                                                    {"LlamaModel", "llama"},
                                                    {"LlamaForSequenceClassification", "llama"},
                                                    {"MistralModel", "llama"},
                                                    {"MistralForSequenceClassification", "llama"},
                                                    {"Qwen2Model", "qwen2"},
                                                    {"Qwen2ForSequenceClassification", "qwen2"},
                                                    {"Qwen3Model", "qwen3"},
                                                    {"Qwen3ForSequenceClassification", "qwen3"},
                                                    {"MistralForCausalLM", "llama"},
                                                    {"MinistralForCausalLM", "llama"},
                                                    {"Ministral3ForCausalLM", "mistral3"},
                                                    {"Qwen2ForCausalLM", "qwen2"},
                                                    {"Qwen3ForCausalLM", "qwen3"},
                                                    {"llama", "llama"},
                                                    {"mistral3", "mistral3"},
                                                    {"qwen2", "qwen2"},
                                                    {"qwen3", "qwen3"},
                                                    {0}};

static struct llama_member member_of(const struct checkpoint *c, const char *architecture) {
  bool llama = strncmp(architecture, "Llama", 5) == 0 || strcmp(architecture, "llama") == 0;
  bool qwen2 = strstr(architecture, "wen2") != NULL, qwen3 = strstr(architecture, "wen3") != NULL;
  return (struct llama_member){.qkv_bias = qwen2,
                               .qk_norm = qwen3,
                               .grows = strcmp(architecture, "Ministral3ForCausalLM") == 0,
                               .window = !llama || checkpoint_kind(c) == CHECKPOINT_GGUF, /* which has Mistral so too */
                               .window_opt = qwen2 || qwen3};
}

/* Which layers see a window: the list of layer types, or from max_window_layers on, or all. A config.json that does not
 * mention the window means one of 4096, but of Ministral 3; null means none. */
static bool window_read(struct decoder *d, const struct checkpoint *c, const struct llama_member *member,
                        struct error *error) {
  enum { HF_WINDOW = 4096 };
  const struct config_key window = {"sliding_window", "attention.sliding_window"};
  bool used = !member->window_opt, listed;
  if (!config_bool(c, (struct config_key){"use_sliding_window", NULL}, &used, error)) return false;
  if (!used) return true;
  if (checkpoint_kind(c) == CHECKPOINT_HF && !member->grows && !config_is_null(c, window)) d->window = HF_WINDOW;
  if (!decoder_read_window(c, &d->window, error)) return false;
  if (d->window == 0) return true;
  if (!decoder_read_layer_types(d, c, &listed, error)) return false;
  if (listed) return true;
  int first = 0;
  if (member->window_opt && !config_int(c, (struct config_key){"max_window_layers", NULL}, CONFIG_NEEDED, 0,
                                        LIMIT_MODEL_LAYERS, &first, error))
    return false;
  for (int i = first; i < d->n_layer; i++) d->layer_kind[i] = LAYER_LOCAL;
  return true;
}

/* GGUF has no settings for these: a tensor is there or not. */
static void gguf_variants(struct decoder *d, const struct checkpoint *c) {
  d->qkv_bias = decoder_has(c, "blk.0.attn_q.bias") || decoder_has(c, "blk.0.attn_qkv.bias");
  d->out_bias = checkpoint_find(c, "blk.0.attn_output.bias") != NULL;
  d->mlp_bias = checkpoint_find(c, "blk.0.ffn_gate.bias") != NULL;
  d->tied = checkpoint_find(c, "output.weight") == NULL;
  /* Files of this architecture have the rows of q and k reordered, so that partners are neighbours. */
  if (gguf_rows_in_pairs(checkpoint_architecture(c))) d->rope_style = ROPE_PAIRS;
}

static bool hf_variants(struct decoder *d, const struct checkpoint *c, const struct llama_member *member,
                        struct error *error) {
  static const char *const silu[] = {"silu", "swish", NULL};
  bool bias = false;
  if (!decoder_expect_act(c, (struct config_key){"hidden_act", NULL}, silu, error) ||
      !config_bool(c, (struct config_key){"tie_word_embeddings", NULL}, &d->tied, error) ||
      !config_bool(c, (struct config_key){"attention_bias", NULL}, &bias, error) ||
      !config_bool(c, (struct config_key){"mlp_bias", NULL}, &d->mlp_bias, error))
    return false;
  d->qkv_bias = bias || member->qkv_bias;
  d->out_bias = bias && !member->qkv_bias;
  return true;
}

/* Configs of several networks state twice whether the head is the embedding, and not always the same: the file tells.
 */
static bool head_missing(const struct checkpoint *c, const char *prefix) {
  char name[80];
  snprintf(name, sizeof name, "%.60slm_head.weight", prefix);
  return checkpoint_find(c, name) == NULL;
}

/* The sections of a rotation of several axes are all of it. */
static bool axes_check(const struct decoder *d, struct error *error) {
  int axes = d->rope_axis[0] + d->rope_axis[1] + d->rope_axis[2];
  if (axes == 0 || axes == d->rope_dim / 2) return true;
  return error_set(error, ERROR_INVALID, "The config: the sections of mrope are %d, %d and %d, expected %d together.",
                   d->rope_axis[0], d->rope_axis[1], d->rope_axis[2], d->rope_dim / 2);
}

/* Of those that make vectors, or scores of labels, of texts: tokens see those behind them where the config says so. */
static bool encoder_read(struct decoder *d, const struct checkpoint *c, const char *embedding, struct error *error) {
  bool causal = true;
  struct sentence_config sentence;
  if (!config_bool(c, (struct config_key){"is_causal", "attention.causal"}, &causal, error) ||
      !sentence_config_read(&sentence, c, error))
    return false;
  d->both_ways = !causal;
  if (d->both_ways && d->window > 0) d->window--; /* itself */
  if (checkpoint_ranks(c)) return text_tail_score(&d->tail, &sentence, "cls.output.weight", d->hidden, 2, error);
  if (sentence.yes >= 0)
    return text_tail_score(&d->tail, &sentence, decoder_head_is_table(d, c) ? embedding : "lm_head.weight", d->hidden,
                           d->vocab, error);
  return encoder_last_read(&d->tail, c, d->hidden, error);
}

/* Of files from before experts were stacked: a tensor for each. */
static const struct decoder_names apart_names = {.gguf = {[ROLE_EXPERT_GATE] = "ffn_gate." EXPERT_MARK,
                                                          [ROLE_EXPERT_UP] = "ffn_up." EXPERT_MARK,
                                                          [ROLE_EXPERT_DOWN] = "ffn_down." EXPERT_MARK}};

/* Ministral 3's scores grow with the position, in steps of the original context. GGUF has it under the name of Mistral
 * Small 3, and states YaRN's factors as their logarithm's. */
static bool growth_read(struct decoder *d, const struct checkpoint *c, const struct llama_member *member, bool encodes,
                        struct error *error) {
  const struct config_key hf = {"rope_parameters.llama_4_scaling_beta", NULL},
                          gguf = {NULL, "attention.temperature_scale"},
                          logarithm = {NULL, "rope.scaling.yarn_log_multiplier"};
  struct rope *rope = &d->rope[LAYER_GLOBAL];
  double growth = 0, factor = 0;
  char text[160];
  if (strcmp(checkpoint_architecture(c), "mistral3") != 0 && !member->grows) return true;
  if (!config_float(c, hf, member->grows ? CONFIG_NEEDED : CONFIG_OPTIONAL, 0, 1e3, &growth, error) ||
      !config_float(c, gguf, CONFIG_OPTIONAL, 0, 1e3, &growth, error) ||
      !config_float(c, logarithm, CONFIG_OPTIONAL, 0, 100, &factor, error))
    return false;
  if (growth > 0 && encodes)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The config has scores that grow with the position (%s), which Spate does of networks that "
                     "generate; this one encodes texts.",
                     config_key_name(c, member->grows ? hf : gguf, text));
  if (factor > 0 && rope->scaling == ROPE_YARN) rope->attention /= 0.1 * factor * log(rope->factor) + 1;
  d->grow = (float)growth;
  d->grow_from = (int)rope->original;
  return true;
}

/* GGUF has Mixtral so too. */
static bool gguf_experts(struct decoder *d, const struct checkpoint *c, struct error *error) {
  int count = 0;
  if (checkpoint_kind(c) == CHECKPOINT_HF) return true;
  if (!config_int(c, (struct config_key){NULL, "expert_count"}, CONFIG_OPTIONAL, 0, LIMIT_MODEL_EXPERTS, &count, error))
    return false;
  d->experts.route.normalize = 1;
  if (decoder_has(c, "blk.0.ffn_gate.0.weight")) d->names = &apart_names;
  return count == 0 || decoder_read_experts(d, c, NULL, error);
}

static bool member_build(const struct llama_member *of, struct decoder d, double base,
                         const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  const struct llama_member member = *of;
  enum { USUAL_HEAD = 128 }; /* of a Ministral 3 that does not say */
  bool hf = checkpoint_kind(checkpoint) == CHECKPOINT_HF;
  if (hf && member.grows && !config_is_null(checkpoint, (struct config_key){"head_dim", NULL})) d.head_dim = USUAL_HEAD;
  d.act = ACT_SILU;
  d.rope_style = ROPE_HALF;
  d.qk_norm = member.qk_norm ? QK_NORM_HEAD : QK_NORM_NONE;
  if (!decoder_read(&d, checkpoint, error)) return false;
  if (!hf)
    gguf_variants(&d, checkpoint);
  else if (!hf_variants(&d, checkpoint, &member, error))
    return false;
  if (!gguf_experts(&d, checkpoint, error)) return false;
  if (d.head_prefix) d.tied = head_missing(checkpoint, d.head_prefix);
  if (member.window && !window_read(&d, checkpoint, &member, error)) return false;
  if (!rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, base, NULL,
                 d.max_position, error) ||
      !growth_read(&d, checkpoint, &member, builder->head.role == PLAN_ENCODER, error))
    return false;
  d.rope[LAYER_LOCAL] = d.rope[LAYER_GLOBAL];
  char embedding[80];
  snprintf(embedding, sizeof embedding, "%.60sembed_tokens.weight", d.prefix ? d.prefix : "");
  if (builder->head.role == PLAN_ENCODER && !encoder_read(&d, checkpoint, embedding, error)) return false;
  return axes_check(&d, error) && decoder_build(&d, checkpoint, builder, error);
}

static bool llama_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  const struct llama_member member = member_of(checkpoint, checkpoint_architecture(checkpoint));
  static const char *const prefixes[] = {"model.", "", NULL}; /* none where the network alone was stored */
  const char *prefix = tensor_prefix_find(checkpoint, prefixes, "embed_tokens.weight");
  return member_build(&member, (struct decoder){.prefix = prefix}, 10000, checkpoint, builder, error);
}

bool llama_text_build(const struct llama_text *text, const struct checkpoint *checkpoint, struct plan_builder *builder,
                      struct error *error) {
  static const char *const types[][2] = {{"llama", "llama"},
                                         {"mistral", "mistral"},
                                         {"ministral3", "Ministral3ForCausalLM"},
                                         {"qwen2", "qwen2"},
                                         {"qwen3", "qwen3"}};
  struct slice type = slice_text(types[0][0]);
  const char *architecture = text->member;
  if (!architecture && !config_text(checkpoint, (struct config_key){"text_config.model_type", NULL}, &type, error))
    return false;
  for (int i = 0; !text->member && i < 5; i++)
    if (slice_is(type, types[i][0])) architecture = types[i][1];
  if (!architecture)
    return error_set(
        error, ERROR_UNSUPPORTED,
        "config.json: text_config.model_type is \"%.*s\", expected \"llama\", \"mistral\", \"ministral3\", "
        "\"qwen2\" or \"qwen3\".",
        SLICE_ARGS(type));
  const struct llama_member member = member_of(checkpoint, architecture);
  struct decoder d = text->defaults;
  d.prefix = text->prefix;
  d.head_prefix = text->head_prefix;
  return member_build(&member, d, text->rope_base > 0 ? text->rope_base : 10000, checkpoint, builder, error);
}

/* Encoders may keep the head that they do not need, or need two rows of. */
static bool llama_unused(const struct checkpoint *c, const char *tensor) {
  return text_encodes(c) && (strcmp(tensor, "lm_head.weight") == 0 || strcmp(tensor, "output.weight") == 0);
}

const struct family llama_family = {.title = "Llama 2 and 3, Mistral, Ministral, Qwen 2, 2.5 and 3, SmolLM 2",
                                    .tried = "SmolLM2-135M",
                                    .architectures = architectures,
                                    .encodes = text_encodes,
                                    .build = llama_build,
                                    .unused = llama_unused};
