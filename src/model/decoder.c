/* Reading what every family's config has. Sizes are bounded so that products of a few of them fit an int. */
#include "model/decoder.h"

#include "format/tensor.h"

#include <math.h>

static bool counts_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct {
    struct config_key key;
    int max, *value;
  } needed[] = {
      {{"num_hidden_layers", "block_count"}, LIMIT_MODEL_LAYERS, &d->n_layer},
      {{"hidden_size", "embedding_length"}, LIMIT_MODEL_WIDTH, &d->hidden},
      {{"intermediate_size", "feed_forward_length"}, LIMIT_MODEL_WIDTH, &d->feed_forward},
      {{"num_attention_heads", "attention.head_count"}, HEADS_MAX, &d->n_head},
      {{"max_position_embeddings", "context_length"}, LIMIT_MODEL_POSITIONS, &d->max_position},
  };
  for (size_t i = 0; i < sizeof needed / sizeof *needed; i++)
    if (!config_int(c, needed[i].key, *needed[i].value ? CONFIG_OPTIONAL : CONFIG_NEEDED, 1, needed[i].max,
                    needed[i].value, error))
      return false;
  if (d->n_kv_head == 0) d->n_kv_head = d->n_head;
  return config_int(c, (struct config_key){"num_key_value_heads", "attention.head_count_kv"}, CONFIG_OPTIONAL, 1,
                    HEADS_MAX, &d->n_kv_head, error) &&
         config_float(c, (struct config_key){"rms_norm_eps", "attention.layer_norm_rms_epsilon"},
                      d->eps > 0 ? CONFIG_OPTIONAL : CONFIG_NEEDED, 0, 1, &d->eps, error);
}

/* GGUF does not have to state the vocabulary's size: the embedding table has one row a token. */
static bool vocab_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  if (checkpoint_kind(c) == CHECKPOINT_HF)
    return config_int(c, (struct config_key){"vocab_size", NULL}, d->vocab ? CONFIG_OPTIONAL : CONFIG_NEEDED, 1,
                      LIMIT_VOCAB, &d->vocab, error);
  const struct tensor *table = checkpoint_find(c, "token_embd.weight");
  if (!table || table->n_dim != 2 || table->dim[0] < 1 || table->dim[0] > LIMIT_VOCAB)
    return error_set(error, ERROR_FORMAT, "Tensor token_embd.weight is missing or no matrix of 1 to %d rows.",
                     LIMIT_VOCAB);
  d->vocab = (int)table->dim[0];
  return true;
}

/* Of a config that does not state it. */
static bool head_dim_derive(struct decoder *d, struct error *error) {
  d->head_dim = d->hidden / d->n_head;
  if (d->hidden % d->n_head != 0)
    return error_set(error, ERROR_INVALID,
                     "The config has hidden size %d and %d attention heads but no head size; the first must be a "
                     "multiple of the second.",
                     d->hidden, d->n_head);
  if (d->head_dim <= HEAD_DIM_MAX) return true;
  return error_set(error, ERROR_LIMIT,
                   "The config has hidden size %d and %d attention heads, which makes heads of %d dimensions; Spate "
                   "allows %d.",
                   d->hidden, d->n_head, d->head_dim, HEAD_DIM_MAX);
}

static bool heads_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  if (d->n_head % d->n_kv_head != 0)
    return error_set(error, ERROR_INVALID,
                     "The config has %d attention heads and %d key/value heads; the first must be a multiple of the "
                     "second.",
                     d->n_head, d->n_kv_head);
  const struct config_key key = {"head_dim", "attention.key_length"};
  if (!config_int(c, key, CONFIG_OPTIONAL, 2, HEAD_DIM_MAX, &d->head_dim, error)) return false;
  if (d->head_dim == 0 && !head_dim_derive(d, error)) return false;
  int dim_v = d->head_dim;
  if (!config_int(c, (struct config_key){NULL, "attention.value_length"}, CONFIG_OPTIONAL, 1, HEAD_DIM_MAX, &dim_v,
                  error))
    return false;
  if (dim_v != d->head_dim)
    return error_set(error, ERROR_UNSUPPORTED, "Heads have %d dimensions for keys and %d for values; they must agree.",
                     d->head_dim, dim_v);
  if ((int64_t)d->n_head * d->head_dim <= LIMIT_MODEL_WIDTH) return true;
  return error_set(error, ERROR_LIMIT, "%d heads of %d dimensions are wider than the %d that Spate allows.", d->n_head,
                   d->head_dim, LIMIT_MODEL_WIDTH);
}

static bool rope_dim_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool hf = checkpoint_kind(c) == CHECKPOINT_HF;
  double part = hf && d->rope_part > 0 ? (double)d->rope_part : 1;
  static const struct config_key keys[] = {
      {"rotary_pct", NULL}, {"partial_rotary_factor", NULL}, {"rope_parameters.partial_rotary_factor", NULL}};
  for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
    if (!config_float(c, keys[i], CONFIG_OPTIONAL, 1e-3, 1, &part, error)) return false;
  if (d->rope_style == ROPE_NONE) return true;
  d->rope_dim = (int)(d->head_dim * part);
  if (!config_int(c, (struct config_key){NULL, "rope.dimension_count"}, CONFIG_OPTIONAL, 2, d->head_dim, &d->rope_dim,
                  error))
    return false;
  if (d->rope_dim >= 2 && d->rope_dim % 2 == 0) return true;
  return error_set(error, ERROR_UNSUPPORTED, "%d dimensions of a head rotate; the number must be even and at least 2.",
                   d->rope_dim);
}

bool decoder_read(struct decoder *decoder, const struct checkpoint *checkpoint, struct error *error) {
  if (!counts_read(decoder, checkpoint, error) || !vocab_read(decoder, checkpoint, error)) return false;
  if (decoder->latent.rank > 0) return true;
  if (!heads_read(decoder, checkpoint, error) || !rope_dim_read(decoder, checkpoint, error)) return false;
  if (decoder_has(checkpoint, "blk.0.attn_qkv.weight")) decoder->qkv_layout = QKV_JOINED; /* of any GGUF file */
  decoder->attend_scale = (float)(1 / sqrt(decoder->head_dim));
  return true;
}

/* A flag for each layer: whether it sees a window. A number alone is a pattern, which is a family's to read. */
static bool gguf_layer_types_read(struct decoder *d, const struct checkpoint *c, bool *listed, struct error *error) {
  char name[160];
  const struct gguf_value *flags = gguf_find(
      checkpoint_gguf(c), config_key_name(c, (struct config_key){NULL, "attention.sliding_window_pattern"}, name));
  *listed = flags && flags->is_array;
  if (!*listed) return true;
  if (flags->count != (size_t)d->n_layer)
    return error_set(error, ERROR_INVALID, "%s has length %zu, expected %d: one for each layer.", name, flags->count,
                     d->n_layer);
  for (int i = 0; i < d->n_layer; i++) {
    int64_t local;
    if (!gguf_value_int(flags, (size_t)i, &local))
      return error_set(error, ERROR_INVALID, "%s has elements that are no flags.", name);
    d->layer_kind[i] = local ? LAYER_LOCAL : LAYER_GLOBAL;
  }
  return true;
}

bool decoder_read_layer_types(struct decoder *decoder, const struct checkpoint *checkpoint, bool *listed,
                              struct error *error) {
  const struct config_key key = {"layer_types", NULL};
  int count = -1;
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) return gguf_layer_types_read(decoder, checkpoint, listed, error);
  if (!config_list(checkpoint, key, &count, error)) return false;
  *listed = count >= 0;
  if (!*listed) return true;
  if (count != decoder->n_layer)
    return error_set(error, ERROR_INVALID, "config.json: layer_types has length %d, expected %d: one for each layer.",
                     count, decoder->n_layer);
  for (int i = 0; i < count; i++) {
    struct slice type;
    if (!config_list_text(checkpoint, key, i, &type, error)) return false;
    bool local = slice_is(type, "sliding_attention");
    if (!local && !slice_is(type, "full_attention"))
      return error_set(
          error, ERROR_UNSUPPORTED,
          "config.json: layer_types[%d] is \"%.*s\", expected \"full_attention\" or \"sliding_attention\".", i,
          SLICE_ARGS(type));
    decoder->layer_kind[i] = local ? LAYER_LOCAL : LAYER_GLOBAL;
  }
  return true;
}

bool decoder_has(const struct checkpoint *checkpoint, const char *tensor) {
  return checkpoint_find(checkpoint, tensor) != NULL;
}

bool decoder_read_act(const struct checkpoint *checkpoint, struct config_key key, enum act_kind *act,
                      struct error *error) {
  static const struct {
    const char *name;
    enum act_kind act;
  } known[] = {{"silu", ACT_SILU},
               {"swish", ACT_SILU},
               {"gelu", ACT_GELU},
               {"gelu_new", ACT_GELU_TANH},
               {"gelu_fast", ACT_GELU_TANH},
               {"gelu_pytorch_tanh", ACT_GELU_TANH},
               {"gelu_accurate", ACT_GELU_TANH},
               {"gelu_python", ACT_GELU},
               {"quick_gelu", ACT_GELU_QUICK},
               {"relu", ACT_RELU}};
  struct slice name = {0};
  char text[160];
  if (!config_text(checkpoint, key, &name, error)) return false;
  if (!name.data) return true;
  for (size_t i = 0; i < sizeof known / sizeof *known; i++)
    if (slice_is(name, known[i].name)) {
      *act = known[i].act;
      return true;
    }
  return error_set(error, ERROR_UNSUPPORTED,
                   "%s is \"%.*s\", expected \"silu\", \"gelu\", \"gelu_new\", \"gelu_pytorch_tanh\" or "
                   "\"relu\".",
                   config_key_name(checkpoint, key, text), SLICE_ARGS(name));
}

bool decoder_name_ends(const char *tensor, const char *end) {
  size_t size = strlen(tensor), tail = strlen(end);
  return size >= tail && strcmp(tensor + size - tail, end) == 0;
}

struct config_key decoder_rope_key(const struct checkpoint *checkpoint, const char *old) {
  struct config_key key = {old, "rope.freq_base"};
  if (!config_has(checkpoint, key)) key.hf = "rope_theta";
  return key;
}

static void gguf_variants_read(struct decoder *d, const struct checkpoint *c) {
  d->tied = !decoder_has(c, "output.weight");
  d->qkv_bias = decoder_has(c, "blk.0.attn_q.bias") || decoder_has(c, "blk.0.attn_qkv.bias");
  d->out_bias = decoder_has(c, "blk.0.attn_output.bias");
  d->mlp_bias = decoder_has(c, "blk.0.ffn_up.bias");
}

bool decoder_read_variants(struct decoder *decoder, const struct checkpoint *checkpoint, struct error *error) {
  bool bias = decoder->qkv_bias;
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) {
    gguf_variants_read(decoder, checkpoint);
    return true;
  }
  if (!decoder_read_act(checkpoint, (struct config_key){"hidden_act", NULL}, &decoder->act, error) ||
      !config_bool(checkpoint, (struct config_key){"tie_word_embeddings", NULL}, &decoder->tied, error) ||
      !config_bool(checkpoint, (struct config_key){"attention_bias", NULL}, &bias, error) ||
      !config_bool(checkpoint, (struct config_key){"mlp_bias", NULL}, &decoder->mlp_bias, error))
    return false;
  decoder->qkv_bias = decoder->out_bias = bias;
  return true;
}

bool decoder_read_sizes(const struct checkpoint *checkpoint, const struct decoder_size *sizes, struct error *error) {
  if (checkpoint_kind(checkpoint) == CHECKPOINT_GGUF) return true;
  for (; sizes->max > 0; sizes++)
    if (!config_int(checkpoint, (struct config_key){sizes->key, NULL}, *sizes->value ? CONFIG_OPTIONAL : CONFIG_NEEDED,
                    1, sizes->max, sizes->value, error))
      return false;
  return true;
}

bool decoder_read_window(const struct checkpoint *checkpoint, int *window, struct error *error) {
  int least = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF ? 0 : 1;
  return config_int(checkpoint, (struct config_key){"sliding_window", "attention.sliding_window"}, CONFIG_OPTIONAL,
                    least, 1 << 30, window, error);
}

bool decoder_read_alike(struct decoder *d, const struct checkpoint *checkpoint, struct error *error) {
  enum { THETA = 10000 };
  const struct config_key theta = {"rope_theta", "rope.freq_base"};
  if (!decoder_read_window(checkpoint, &d->window, error) ||
      !rope_read(&d->rope[LAYER_GLOBAL], checkpoint, theta, THETA, NULL, d->max_position, error))
    return false;
  d->rope[LAYER_LOCAL] = d->rope[LAYER_GLOBAL];
  if (d->window > 0) memset(d->layer_kind, LAYER_LOCAL, sizeof d->layer_kind);
  return true;
}

void decoder_pattern(struct decoder *decoder, int pattern) {
  for (int i = 0; i < decoder->n_layer; i++)
    decoder->layer_kind[i] = (i + 1) % pattern == 0 ? LAYER_GLOBAL : LAYER_LOCAL;
}

bool decoder_expect_act(const struct checkpoint *checkpoint, struct config_key key, const char *const *names,
                        struct error *error) {
  struct slice act = {0};
  if (!config_text(checkpoint, key, &act, error)) return false;
  if (!act.data) return true;
  for (int i = 0; names[i]; i++)
    if (slice_is(act, names[i])) return true;
  char name[160];
  return error_set(error, ERROR_UNSUPPORTED, "%s is \"%.*s\", expected \"%s\".", config_key_name(checkpoint, key, name),
                   SLICE_ARGS(act), names[0]);
}
