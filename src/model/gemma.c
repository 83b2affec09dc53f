/* Gemma 1 and 2, text: norms stored as offsets from one, GELU gate, embeddings scaled by √hidden. Gemma 2 has norms
 * after each half too, caps on scores and logits, and a sliding window in every second layer, the first included. */
#include "model/decoder.h"
#include "model/encoder_labels.h"
#include "model/family.h"

#include <math.h>

static const struct architecture architectures[] = {{"GemmaForCausalLM", "gemma"},
                                                    {"GemmaForSequenceClassification", "gemma"},
                                                    {"Gemma2ForCausalLM", "gemma2"},
                                                    {"Gemma2ForSequenceClassification", "gemma2"},
                                                    {"gemma", "gemma"},
                                                    {"gemma2", "gemma2"},
                                                    {0}};

/* What configs may leave out. */
static const struct decoder hf_defaults = {.head_dim = 256, .eps = 1e-6};

static bool is_second(const struct checkpoint *c) { return strstr(checkpoint_architecture(c), "emma2") != NULL; }

static bool hf_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  static const char *const gelu[] = {"gelu_pytorch_tanh", "gelu", NULL}; /* the second was written by mistake */
  bool bias = false;
  d->norm_add = 1; /* GGUF files have it added */
  if (!decoder_expect_act(c, (struct config_key){"hidden_act", NULL}, gelu, error) ||
      !decoder_expect_act(c, (struct config_key){"hidden_activation", NULL}, gelu, error) ||
      !config_bool(c, (struct config_key){"tie_word_embeddings", NULL}, &d->tied, error) ||
      !config_bool(c, (struct config_key){"attention_bias", NULL}, &bias, error))
    return false;
  d->qkv_bias = d->out_bias = bias;
  return true;
}

/* Files that do not mention a cap mean these; null is none. */
static bool caps_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key of_scores = {"attn_logit_softcapping", "attn_logit_softcapping"},
                          of_logits = {"final_logit_softcapping", "final_logit_softcapping"};
  double scores = config_is_null(c, of_scores) ? 0 : 50, logits = config_is_null(c, of_logits) ? 0 : 30;
  if (!config_float(c, of_scores, CONFIG_OPTIONAL, 0, 1e6, &scores, error) ||
      !config_float(c, of_logits, CONFIG_OPTIONAL, 0, 1e6, &logits, error))
    return false;
  d->attend_softcap = (float)scores;
  d->final_softcap = (float)logits;
  return true;
}

/* GGUF does not state the scale of attention: the one network that has another than its head size is the 27B, of 46
 * layers. */
static bool scale_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  enum { LAYERS_27B = 46 };
  bool gguf = checkpoint_kind(c) == CHECKPOINT_GGUF;
  double scalar = gguf ? d->head_dim : 256;
  if (gguf && d->n_layer == LAYERS_27B) scalar = (double)d->hidden / d->n_head;
  if (!config_float(c, (struct config_key){"query_pre_attn_scalar", NULL}, CONFIG_OPTIONAL, 1e-3, 1e6, &scalar, error))
    return false;
  d->attend_scale = (float)(1 / sqrt(scalar));
  return true;
}

static bool second_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool listed;
  d->window = 4096;
  if (!caps_read(d, c, error) || !scale_read(d, c, error) || !decoder_read_window(c, &d->window, error) ||
      !decoder_read_layer_types(d, c, &listed, error))
    return false;
  if (!listed) decoder_pattern(d, 2);
  return true;
}

static bool gemma_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  struct decoder d = hf_defaults;
  if (gguf) d = (struct decoder){0};
  d.prefix = "model.";
  d.act = ACT_GELU_TANH;
  d.rope_style = ROPE_HALF;
  d.tied = true;
  if (is_second(checkpoint)) d.block = BLOCK_SANDWICH;
  if (!decoder_read(&d, checkpoint, error)) return false;
  d.embed_scale = (float)sqrt(d.hidden);
  if (gguf)
    d.tied = !decoder_has(checkpoint, "output.weight");
  else if (!hf_read(&d, checkpoint, error))
    return false;
  if (is_second(checkpoint) && !second_read(&d, checkpoint, error)) return false;
  if (!rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, 10000, NULL,
                 d.max_position, error))
    return false;
  d.rope[LAYER_LOCAL] = d.rope[LAYER_GLOBAL];
  if (builder->head.role == PLAN_ENCODER && !encoder_last_read(&d.tail, checkpoint, d.hidden, error)) return false;
  return decoder_build(&d, checkpoint, builder, error);
}

const struct family gemma_family = {
    .title = "Gemma 1 and 2", .architectures = architectures, .encodes = text_classifies, .build = gemma_build};
