/* DeepSeek V2, V2-Lite, V3 and R1: latent attention, a rotation of neighbours in a part of each head, and layers of
 * experts behind the first few. */
#include "format/tensor.h"
#include "model/decoder.h"
#include "model/family.h"

#include <math.h>
#include <stdlib.h>

static const struct architecture architectures[] = {
    {"DeepseekV2ForCausalLM", "deepseek2"}, {"DeepseekV3ForCausalLM", "deepseek2"}, {"deepseek2", "deepseek2"}, {0}};

static bool is_v2(const struct checkpoint *c) {
  const char *name = checkpoint_architecture(c);
  return strstr(name, "V2") != NULL;
}

enum { LATENT_MOST = 1 << 16 };

static bool sizes_read_hf(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key q_rank = {"q_lora_rank", NULL};
  d->latent.q_rank = config_is_null(c, q_rank) ? 0 : 1536; /* what an absent key means */
  d->latent.eps = 1e-6;                                    /* of these norms, whatever the config has for others */
  const struct decoder_size sizes[] = {{"kv_lora_rank", HEAD_DIM_MAX, &d->latent.rank},
                                       {"qk_nope_head_dim", HEAD_DIM_MAX, &d->latent.still},
                                       {"qk_rope_head_dim", HEAD_DIM_MAX, &d->latent.rope},
                                       {"v_head_dim", HEAD_DIM_MAX, &d->head_dim},
                                       {NULL, 0, NULL}};
  return config_int(c, q_rank, CONFIG_OPTIONAL, 1, LATENT_MOST, &d->latent.q_rank, error) &&
         decoder_read_sizes(c, sizes, error);
}

/* Of files that keep the latent alone "key_length" is the latent's and the rotated part's together. */
static bool sizes_read_gguf(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct {
    const char *key, *latent; /* the second is a head's where both are there */
    int *value;
  } needed[] = {{"attention.kv_lora_rank", NULL, &d->latent.rank},
                {"rope.dimension_count", NULL, &d->latent.rope},
                {"attention.key_length", "attention.key_length_mla", &d->latent.still},
                {"attention.value_length", "attention.value_length_mla", &d->head_dim}};
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
    struct config_key key = {NULL, needed[i].latent};
    if (!needed[i].latent || !config_has(c, key)) key.gguf = needed[i].key;
    if (!config_int(c, key, CONFIG_NEEDED, 1, 2 * HEAD_DIM_MAX, needed[i].value, error)) return false;
  }
  d->latent.still -= d->latent.rope;
  return config_int(c, (struct config_key){NULL, "attention.q_lora_rank"}, CONFIG_OPTIONAL, 0, LATENT_MOST,
                    &d->latent.q_rank, error);
}

static bool sizes_check(const struct decoder *d, struct error *error) {
  const struct latent_sizes *l = &d->latent;
  if (l->still < 1 || l->rope % VALUE_UNIT != 0)
    return error_set(error, ERROR_UNSUPPORTED,
                     "%d dimensions of a head rotate and %d do not; the first must be a multiple of %d, the second at "
                     "least 1.",
                     l->rope, l->still, VALUE_UNIT);
  if (l->rank + l->rope > HEAD_DIM_MAX)
    return error_set(error, ERROR_LIMIT,
                     "A latent of %d and %d rotated dimensions are more than the %d that Spate allows.", l->rank,
                     l->rope, HEAD_DIM_MAX);
  int64_t width = (int64_t)(d->n_head + 1) * (l->rank + l->rope);
  int64_t still = (int64_t)d->n_head * l->still, values = (int64_t)d->n_head * d->head_dim;
  if (width <= LIMIT_MODEL_WIDTH && still <= LIMIT_MODEL_WIDTH && values <= LIMIT_MODEL_WIDTH) return true;
  return error_set(error, ERROR_LIMIT, "%d heads over a latent of %d are wider than the %d that Spate allows.",
                   d->n_head, l->rank, LIMIT_MODEL_WIDTH);
}

/* Against the first layer's queries: a wrong number of heads shows in no key's own range. */
static bool heads_check(const struct decoder *d, const struct checkpoint *c, struct error *error) {
  const char *name =
      d->latent.q_rank > 0 ? "model.layers.0.self_attn.q_b_proj.weight" : "model.layers.0.self_attn.q_proj.weight";
  const struct tensor *queries = checkpoint_find(c, name);
  int head = d->latent.still + d->latent.rope;
  if (!queries || queries->dim[0] == (int64_t)d->n_head * head) return true;
  return error_set(
      error, ERROR_INVALID,
      "config.json: num_attention_heads is %d and qk_nope_head_dim and qk_rope_head_dim are %d and %d, but "
      "tensor %s has %lld rows, which should be their product.",
      d->n_head, d->latent.still, d->latent.rope, name, (long long)queries->dim[0]);
}

/* GGUF: the logarithm's factor, from which both the scores' and that of cos and sin follow. */
static bool gguf_score_read(struct rope *rope, const struct checkpoint *c, struct error *error) {
  double factor = 0;
  const struct config_key key = {NULL, "rope.scaling.yarn_log_multiplier"};
  if (!config_float(c, key, CONFIG_OPTIONAL, 0, 100, &factor, error)) return false;
  if (factor == 0 || rope->scaling != ROPE_YARN) return true;
  rope->score = 1 + factor * log(rope->factor);
  rope->attention = 1;
  return true;
}

static bool rotation_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  struct rope *rope = &d->rope[LAYER_GLOBAL];
  bool pairs = true;
  if (!config_bool(c, (struct config_key){"rope_interleave", NULL}, &pairs, error) ||
      !rope_read(rope, c, (struct config_key){"rope_theta", "rope.freq_base"}, 10000, NULL, d->max_position, error) ||
      (checkpoint_kind(c) == CHECKPOINT_GGUF && !gguf_score_read(rope, c, error)))
    return false;
  d->rope_style = pairs || is_v2(c) ? ROPE_PAIRS : ROPE_HALF;
  d->rope_dim = d->latent.rope;
  d->attend_scale = (float)(rope->score * rope->score / sqrt(d->latent.still + d->latent.rope));
  return true;
}

/* --- experts ------------------------------------------------------------------------------------------------------ */

/* How experts are chosen, of which only what the networks of this family do is known here. */
static bool choice_check(const struct checkpoint *c, bool normalize, struct error *error) {
  static const char *const v2_methods[] = {"greedy", "group_limited_greedy", NULL}, *const v3_methods[] = {"noaux_tc",
                                                                                                           NULL};
  static const char *const v2_scores[] = {"softmax", NULL}, *const v3_scores[] = {"sigmoid", NULL};
  bool v2 = is_v2(c);
  int frequency = 1;
  if (!decoder_expect_act(c, (struct config_key){"topk_method", NULL}, v2 ? v2_methods : v3_methods, error) ||
      !decoder_expect_act(c, (struct config_key){"scoring_func", NULL}, v2 ? v2_scores : v3_scores, error) ||
      !config_int(c, (struct config_key){"moe_layer_freq", NULL}, CONFIG_OPTIONAL, 1, 1, &frequency, error))
    return false;
  if (!v2 || !normalize) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   "config.json: norm_topk_prob is true, expected false: DeepSeek V2's weights of experts are not "
                   "normalized.");
}

/* Sigmoids, a bias for the choice, and groups that score by two: V3's way. */
static bool gating_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  enum { GATING_SOFTMAX = 1, GATING_SIGMOID = 2 };
  int gating = is_v2(c) || checkpoint_kind(c) == CHECKPOINT_GGUF ? GATING_SOFTMAX : GATING_SIGMOID;
  bool normalize = gating == GATING_SIGMOID;
  if (!config_int(c, (struct config_key){NULL, "expert_gating_func"}, CONFIG_OPTIONAL, GATING_SOFTMAX, GATING_SIGMOID,
                  &gating, error) ||
      !config_bool(c, (struct config_key){"norm_topk_prob", "expert_weights_norm"}, &normalize, error))
    return false;
  d->experts.choice_bias = gating == GATING_SIGMOID;
  d->experts.route.score = gating == GATING_SIGMOID ? ROUTE_SIGMOID : ROUTE_SOFTMAX;
  d->experts.route.normalize = normalize;
  return checkpoint_kind(c) == CHECKPOINT_GGUF || choice_check(c, normalize, error);
}

static bool groups_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  struct route_args *r = &d->experts.route;
  struct slice method = {0};
  int n = 1, top = 1;
  if (!config_int(c, (struct config_key){"n_group", "expert_group_count"}, CONFIG_OPTIONAL, 1, r->n_expert, &n,
                  error) ||
      !config_int(c, (struct config_key){"topk_group", "expert_group_used_count"}, CONFIG_OPTIONAL, 1, n, &top,
                  error) ||
      !config_text(c, (struct config_key){"topk_method", NULL}, &method, error))
    return false;
  if (n == 1 || slice_is(method, "greedy")) return true;
  r->n_group = n, r->top_group = top, r->group_pair = d->experts.choice_bias;
  int each = r->n_expert / n;
  if (r->n_expert % n == 0 && each > r->group_pair && (int64_t)top * each >= r->k) return true;
  return error_set(error, ERROR_INVALID,
                   "The config has %d experts in %d groups, of which %d are chosen for %d experts: the groups must be "
                   "equal, and hold as many.",
                   r->n_expert, n, top, r->k);
}

/* Layers of experts come behind the first few, if there are any. */
static bool experts_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  static const char count[] = "n_routed_experts";
  int shared = 0, dense = 0;
  double scale = 1;
  if (!config_int(c, (struct config_key){"first_k_dense_replace", "leading_dense_block_count"}, CONFIG_OPTIONAL, 0,
                  LIMIT_MODEL_LAYERS, &dense, error))
    return false;
  if (!config_has(c, (struct config_key){count, "expert_count"}) || dense >= d->n_layer) return true;
  for (int i = 0; i < dense; i++) d->layer_dense[i] = true;
  if (!decoder_read_experts(d, c, count, error) ||
      !config_int(c, (struct config_key){"n_shared_experts", "expert_shared_count"}, CONFIG_OPTIONAL, 0,
                  LIMIT_ROUTE_EXPERTS, &shared, error) ||
      !config_float(c, (struct config_key){"routed_scaling_factor", "expert_weights_scale"}, CONFIG_OPTIONAL, 0, 1e6,
                    &scale, error))
    return false;
  d->experts.route.scale = (float)scale;
  int64_t width = (int64_t)shared * d->experts.feed_forward;
  if (width > LIMIT_MODEL_WIDTH)
    return error_set(error, ERROR_LIMIT, "%d shared experts of width %d are wider than the %d that Spate allows.",
                     shared, d->experts.feed_forward, LIMIT_MODEL_WIDTH);
  d->experts.shared = (int)width;
  return gating_read(d, c, error) && groups_read(d, c, error);
}

/* Layers behind the last predict further tokens for a draft, which Spate does not make. */
static bool extra_read(const struct checkpoint *c, int *extra, struct error *error) {
  return config_int(c, (struct config_key){"num_nextn_predict_layers", NULL}, CONFIG_OPTIONAL, 0, LIMIT_MODEL_LAYERS,
                    extra, error);
}

static bool deepseek_unused(const struct checkpoint *checkpoint, const char *tensor) {
  static const char layers[] = "model.layers.";
  int n_layer = 0, extra = 0;
  struct error error;
  if (strncmp(tensor, layers, sizeof layers - 1) != 0 ||
      !config_int(checkpoint, (struct config_key){"num_hidden_layers", NULL}, CONFIG_NEEDED, 1, LIMIT_MODEL_LAYERS,
                  &n_layer, &error) ||
      !extra_read(checkpoint, &extra, &error))
    return false;
  long layer = strtol(tensor + sizeof layers - 1, NULL, 10);
  return layer >= n_layer && layer < n_layer + extra;
}

static bool deepseek_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  struct decoder d = {.prefix = "model.", .act = ACT_SILU};
  int extra;
  if (!extra_read(checkpoint, &extra, error) || !(gguf ? sizes_read_gguf : sizes_read_hf)(&d, checkpoint, error) ||
      !decoder_read(&d, checkpoint, error) || !decoder_read_variants(&d, checkpoint, error))
    return false;
  d.n_kv_head = 1;
  if (gguf) d.latent.eps = d.eps, d.qkv_bias = decoder_has(checkpoint, "blk.0.attn_kv_a_mqa.bias");
  return sizes_check(&d, error) && heads_check(&d, checkpoint, error) && rotation_read(&d, checkpoint, error) &&
         experts_read(&d, checkpoint, error) && decoder_build(&d, checkpoint, builder, error);
}

const struct family deepseek_family = {
    .title = "DeepSeek V2 and V3", .architectures = architectures, .build = deepseek_build, .unused = deepseek_unused};
