/* gpt-oss: attention with a sink for each head and a window in every second layer, the first included, biases
 * everywhere, and experts whose gates are clamped. Hugging Face's checkpoints have the experts in MXFP4 or in BF16. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"GptOssForCausalLM", "gpt-oss"}, {"gpt-oss", "gpt-oss"}, {0}};

static const struct decoder_names names = {
    .hf = {[ROLE_ROUTER] = "mlp.router", [ROLE_EXPERT_DOWN] = "=mlp.experts.down_proj"},
    .gguf = {[ROLE_MLP_NORM] = "post_attention_norm"}};

/* What configs may leave out, and GGUF does not have. */
enum { USUAL_EXPERTS = 128, USUAL_CHOSEN = 4, USUAL_HEAD = 64, USUAL_WINDOW = 128 };
static const double usual_limit = 7, usual_eps = 1e-5, usual_theta = 150000;

static bool experts_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool hf = checkpoint_kind(c) == CHECKPOINT_HF;
  enum config_need need = hf ? CONFIG_OPTIONAL : CONFIG_NEEDED;
  const struct config_key chosen = {"num_experts_per_tok", "expert_used_count"};
  int n = USUAL_EXPERTS, k = USUAL_CHOSEN;
  double limit = usual_limit;
  if (!config_int(c, (struct config_key){"num_local_experts", "expert_count"}, need, 1, LIMIT_MODEL_EXPERTS, &n,
                  error) ||
      !config_int(c, chosen, need, 1, n < LIMIT_ROUTE_EXPERTS ? n : LIMIT_ROUTE_EXPERTS, &k, error) ||
      !config_float(c, (struct config_key){"swiglu_limit", NULL}, CONFIG_OPTIONAL, 1e-3, 1e6, &limit, error))
    return false;
  d->experts.route = (struct route_args){.n_expert = n, .k = k, .score = ROUTE_CHOSEN, .scale = 1};
  d->experts.layout = EXPERTS_ALTERNATE;
  d->experts.feed_forward = d->feed_forward;
  d->experts.router_bias = d->experts.bias = true;
  d->limit = (float)limit;
  d->up_add = 1;
  return config_int(c, (struct config_key){NULL, "expert_feed_forward_length"}, CONFIG_OPTIONAL, 1, LIMIT_MODEL_WIDTH,
                    &d->experts.feed_forward, error) &&
         decoder_experts_fit(d, error);
}

/* Settings that Hugging Face's files have, and GGUF's network is fixed by. */
static bool hf_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  static const char *const silu[] = {"silu", "swish", NULL};
  const double alpha = 1.702;
  double found = alpha;
  if (!decoder_expect_act(c, (struct config_key){"hidden_act", NULL}, silu, error) ||
      !config_bool(c, (struct config_key){"tie_word_embeddings", NULL}, &d->tied, error) ||
      !config_bool(c, (struct config_key){"attention_bias", NULL}, &d->qkv_bias, error) ||
      !config_float(c, (struct config_key){"swiglu_alpha", NULL}, CONFIG_OPTIONAL, -1e6, 1e6, &found, error))
    return false;
  d->out_bias = d->qkv_bias;
  if (found == alpha) return true;
  return error_set(error, ERROR_UNSUPPORTED, "config.json: swiglu_alpha is %g, expected %g.", found, alpha);
}

/* A window in every second layer, unless the config lists other ones. */
static bool layers_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key window = {"sliding_window", "attention.sliding_window"};
  bool listed;
  if (checkpoint_kind(c) == CHECKPOINT_HF && config_is_null(c, window)) return true;
  d->window = USUAL_WINDOW;
  if (!decoder_read_window(c, &d->window, error) || !decoder_read_layer_types(d, c, &listed, error)) return false;
  if (!listed) decoder_pattern(d, 2);
  return true;
}

/* YaRN, whose blend does not begin and end at whole dimensions: GGUF does not say so. A config.json without a scaling
 * means that of the published networks. */
static bool rotation_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  struct rope *rope = &d->rope[LAYER_GLOBAL];
  bool gguf = checkpoint_kind(c) == CHECKPOINT_GGUF;
  if (!rope_read(rope, c, (struct config_key){"rope_theta", "rope.freq_base"}, usual_theta, NULL, d->max_position,
                 error))
    return false;
  if (gguf) rope->truncate = false;
  if (!gguf && !config_has(c, (struct config_key){"rope_parameters", NULL}) &&
      !config_has(c, (struct config_key){"rope_scaling", NULL}))
    rope_yarn(rope, 32, 4096);
  d->rope[LAYER_LOCAL] = *rope;
  return true;
}

static bool gpt_oss_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  bool hf = checkpoint_kind(checkpoint) == CHECKPOINT_HF;
  struct decoder d = {.prefix = "model.",
                      .names = &names,
                      .act = ACT_GELU_QUICK,
                      .rope_style = ROPE_HALF,
                      .qkv_bias = true,
                      .out_bias = true,
                      .sinks = true};
  if (hf) d.eps = usual_eps;
  if (hf && !config_is_null(checkpoint, (struct config_key){"head_dim", NULL})) d.head_dim = USUAL_HEAD;
  if (!hf) d.tied = !decoder_has(checkpoint, "output.weight");
  return decoder_read(&d, checkpoint, error) && (!hf || hf_read(&d, checkpoint, error)) &&
         experts_read(&d, checkpoint, error) && layers_read(&d, checkpoint, error) &&
         rotation_read(&d, checkpoint, error) && decoder_build(&d, checkpoint, builder, error);
}

const struct family gpt_oss_family = {.title = "gpt-oss", .architectures = architectures, .build = gpt_oss_build};
