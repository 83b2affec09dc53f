/* Gemma 3, text: norms before and after each part, q and k normed, GELU gate, embeddings scaled by √hidden, and runs of
 * layers that see a sliding window between layers that see everything, each kind with its own rotation. A checkpoint
 * that also sees images keeps its text network under "text_config" and a longer tensor prefix. */
#include "format/tensor.h"
#include "model/decoder.h"
#include "model/encoder_labels.h"
#include "model/family.h"
#include "model/gemma3_text.h"

#include <math.h>
#include <stdio.h>

static const struct architecture architectures[] = {{"Gemma3ForCausalLM", "gemma3"},
                                                    {"Gemma3TextModel", "gemma-embedding"},
                                                    {"Gemma3TextForSequenceClassification", "gemma3"},
                                                    {"gemma-embedding", "gemma-embedding"},
                                                    {"gemma3", "gemma3"},
                                                    {0}};

/* What configs of the larger models leave out. */
static const struct decoder hf_defaults = {
    .n_head = 8, .n_kv_head = 4, .head_dim = 256, .vocab = 262208, .max_position = 131072, .eps = 1e-6};

static const char *tensor_prefix(const struct checkpoint *c) {
  static const char *const prefixes[] = {"language_model.model.", "model.language_model.", ""};
  for (int i = 0; i < 3; i++) {
    char name[80] = "";
    strcat(strcat(name, prefixes[i]), "embed_tokens.weight");
    if (checkpoint_find(c, name)) return prefixes[i];
  }
  return "model.";
}

/* The list of layer types, or every pattern-th layer global. A GGUF file that states no window has none. */
static bool layers_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool listed;
  int pattern = 6;
  if (checkpoint_kind(c) == CHECKPOINT_HF) d->window = 4096;
  if (!decoder_read_window(c, &d->window, error) || !decoder_read_layer_types(d, c, &listed, error)) return false;
  if (listed || d->window == 0) return true;
  static const struct config_key spellings[] = {{"sliding_window_pattern", "attention.sliding_window_pattern"},
                                                {"_sliding_window_pattern", NULL}};
  for (int i = 0; i < 2; i++)
    if (!config_int(c, spellings[i], CONFIG_OPTIONAL, 1, LIMIT_MODEL_LAYERS, &pattern, error)) return false;
  for (int i = 0; i < d->n_layer; i++) d->layer_kind[i] = (i + 1) % pattern == 0 ? LAYER_GLOBAL : LAYER_LOCAL;
  return true;
}

static bool ropes_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  double local = 10000;
  if (!rope_read(&d->rope[LAYER_GLOBAL], c, (struct config_key){"rope_theta", "rope.freq_base"}, 1e6, "full_attention",
                 d->max_position, error) ||
      !config_float(c, (struct config_key){"rope_local_base_freq", "rope.freq_base_swa"}, CONFIG_OPTIONAL, 1.5, 1e12,
                    &local, error) ||
      !config_float(c, (struct config_key){"rope_parameters.sliding_attention.rope_theta", NULL}, CONFIG_OPTIONAL, 1.5,
                    1e12, &local, error))
    return false;
  d->rope[LAYER_LOCAL] = rope_plain(local);
  return true;
}

/* GGUF does not state the scale of attention: the one network that has another than its head size is the 27B, of 62
 * layers. */
static double attend_numerator(const struct decoder *d) {
  enum { LAYERS_27B = 62 };
  return d->n_layer == LAYERS_27B ? (double)d->hidden / d->n_head : d->head_dim;
}

static bool hf_read(struct decoder *d, const struct checkpoint *c, double *scalar, struct error *error) {
  static const char *const gelu[] = {"gelu_pytorch_tanh", NULL};
  bool bias = false;
  d->norm_add = 1; /* stored as an offset from one; GGUF files have it added */
  *scalar = 256;
  if (!decoder_expect_act(c, (struct config_key){"hidden_activation", NULL}, gelu, error) ||
      !config_float(c, (struct config_key){"query_pre_attn_scalar", NULL}, CONFIG_OPTIONAL, 1e-3, 1e6, scalar, error) ||
      !config_bool(c, (struct config_key){"tie_word_embeddings", NULL}, &d->tied, error) ||
      !config_bool(c, (struct config_key){"attention_bias", NULL}, &bias, error))
    return false;
  d->qkv_bias = d->out_bias = bias;
  return true;
}

static bool softcap_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  double cap = 0;
  if (!config_float(c, (struct config_key){"final_logit_softcapping", "final_logit_softcapping"}, CONFIG_OPTIONAL, 0,
                    1e6, &cap, error))
    return false;
  d->final_softcap = (float)cap;
  return true;
}

/* GGUF's name for EmbeddingGemma, whose files need not say that it makes vectors. */
static bool is_embedding(const struct checkpoint *c) {
  return strcmp(checkpoint_architecture(c), "gemma-embedding") == 0;
}

static bool gemma3_encodes(const struct checkpoint *c) { return is_embedding(c) || text_encodes(c); }

/* The linears behind the pooling, which GGUF files may have left out: then vectors are the pooling's. */
static void gguf_dense_read(struct decoder *d, const struct checkpoint *c) {
  static const char *const names[] = {"dense_2", "dense_3"};
  for (int i = 0, cols = d->hidden; i < 2; i++) {
    char weight[32];
    snprintf(weight, sizeof weight, "%s.weight", names[i]);
    const struct tensor *matrix = checkpoint_find(c, weight);
    if (!matrix || matrix->n_dim != 2 || matrix->dim[0] > LIMIT_MODEL_WIDTH) continue;
    text_tail_add(&d->tail, names[i], cols, (int)matrix->dim[0])->bias = false;
    cols = (int)matrix->dim[0];
  }
}

/* Of an encoder of texts the window is of both sides together. */
static bool encoder_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  d->both_ways = is_embedding(c);
  if (!config_bool(c, (struct config_key){"use_bidirectional_attention", NULL}, &d->both_ways, error)) return false;
  if (d->both_ways) d->window /= 2;
  if (text_classifies(c)) return encoder_last_read(&d->tail, c, d->hidden, error);
  if (!text_tail_read(&d->tail, c, d->both_ways ? POOL_MEAN : POOL_TOKEN, d->hidden, error)) return false;
  if (is_embedding(c)) gguf_dense_read(d, c);
  return true;
}

bool gemma3_text_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  struct decoder d = gguf ? (struct decoder){0} : hf_defaults;
  d.prefix = tensor_prefix(checkpoint);
  d.act = ACT_GELU_TANH;
  d.rope_style = ROPE_HALF;
  d.qk_norm = QK_NORM_HEAD;
  d.block = BLOCK_SANDWICH;
  d.tied = true;
  if (!decoder_read(&d, checkpoint, error)) return false;
  d.embed_scale = (float)sqrt(d.hidden);
  double scalar = attend_numerator(&d);
  if (gguf)
    d.tied = checkpoint_find(checkpoint, "output.weight") == NULL;
  else if (!hf_read(&d, checkpoint, &scalar, error))
    return false;
  d.attend_scale = (float)(1 / sqrt(scalar));
  if (!layers_read(&d, checkpoint, error)) return false;
  if (builder->head.role == PLAN_ENCODER && !encoder_read(&d, checkpoint, error)) return false;
  return ropes_read(&d, checkpoint, error) && softcap_read(&d, checkpoint, error) &&
         decoder_build(&d, checkpoint, builder, error);
}

const struct family gemma3_family = {
    .title = "Gemma 3", .architectures = architectures, .encodes = gemma3_encodes, .build = gemma3_text_build};
