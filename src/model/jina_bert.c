/* Jina's BERT (jina-embeddings-v2): scores that fall with the distance of two tokens in place of a table of positions,
 * and gated feed-forwards, the last of whose matrices alone has a bias. */
#include "format/tensor.h"
#include "model/distances.h"
#include "model/family.h"
#include "model/vision_tower.h"

#include <stdlib.h>

enum { TYPES_MAX = 1 << 8 };

static const double slope_most = 8;

static const struct decoder_names names = {
    .layers = "encoder.layer",
    .hf = {[ROLE_EMBED] = "embeddings.word_embeddings",
           [ROLE_TYPES] = "embeddings.token_type_embeddings",
           [ROLE_EMBED_NORM] = "embeddings.LayerNorm",
           [ROLE_Q] = "attention.self.query",
           [ROLE_K] = "attention.self.key",
           [ROLE_V] = "attention.self.value",
           [ROLE_OUT] = "attention.output.dense",
           [ROLE_SANDWICH_ATTEND_POST] = "attention.output.LayerNorm",
           [ROLE_GATE_UP] = "mlp.gated_layers",
           [ROLE_DOWN] = "mlp.wo",
           [ROLE_SANDWICH_MLP_POST] = "mlp.layernorm"},
    .gguf = {[ROLE_SANDWICH_ATTEND_POST] = "attn_output_norm", [ROLE_SANDWICH_MLP_POST] = "layer_output_norm"}};

static const struct decoder usual = {
    .n_layer = 12, .n_head = 12, .hidden = 768, .feed_forward = 3072, .vocab = 30528, .max_position = 8192, .types = 2};

/* Of the same code, as other networks use it. */
static bool kind_check(const struct checkpoint *c, struct error *error) {
  static const struct {
    const char *key, *value;
  } wanted[] = {{"position_embedding_type", "alibi"}, {"feed_forward_type", "geglu"}};
  for (size_t i = 0; i < sizeof wanted / sizeof *wanted; i++) {
    struct slice said = {0};
    if (!config_text(c, (struct config_key){wanted[i].key, NULL}, &said, error)) return false;
    if (said.data && !slice_is(said, wanted[i].value))
      return error_set(error, ERROR_UNSUPPORTED, "config.json: %s is \"%.*s\", expected \"%s\".", wanted[i].key,
                       SLICE_ARGS(said), wanted[i].value);
  }
  return true;
}

static bool config_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct tensor *types = checkpoint_find(c, "token_types.weight");
  if (checkpoint_kind(c) == CHECKPOINT_GGUF) {
    d->types = types && types->n_dim == 2 && types->dim[0] <= TYPES_MAX ? (int)types->dim[0] : 0;
    if (decoder_has(c, "blk.0.ffn_gate.weight")) d->ff_layout = FF_GATED;
  }
  return config_float(c, (struct config_key){"layer_norm_eps", "attention.layer_norm_epsilon"}, CONFIG_OPTIONAL, 0, 1,
                      &d->eps, error) &&
         decoder_read(d, c, error) &&
         config_int(c, (struct config_key){"type_vocab_size", NULL}, CONFIG_OPTIONAL, 0, TYPES_MAX, &d->types, error) &&
         decoder_read_act(c, (struct config_key){"hidden_act", NULL}, &d->act, error);
}

static bool jina_build(const struct checkpoint *c, struct plan_builder *builder, struct error *error) {
  static const char *const prefixes[] = {"", "bert.", NULL};
  struct decoder d = checkpoint_kind(c) == CHECKPOINT_HF ? usual : (struct decoder){0};
  d.names = &names;
  d.prefix = tensor_prefix_find(c, prefixes, "embeddings.word_embeddings.weight");
  d.eps = 1e-12;
  d.act = ACT_GELU;
  d.block = BLOCK_SUM;
  d.ff_layout = FF_GATED_JOINED;
  d.layer_norm = d.norm_bias = d.qkv_bias = d.out_bias = d.down_bias = d.embed_norm = d.both_ways = true;
  if (!kind_check(c, error) || !config_read(&d, c, error) || !text_tail_read(&d.tail, c, POOL_MEAN, d.hidden, error))
    return false;
  float *distances = distances_alibi(&d, slope_most, error);
  d.distances = distances;
  bool ok = distances && decoder_build(&d, c, builder, error);
  free(distances);
  return ok;
}

/* What pre-training left. */
static bool jina_unused(const struct checkpoint *c, const char *tensor) {
  (void)c;
  return strncmp(tensor, "cls.predictions.", 16) == 0 || strstr(tensor, "pooler.dense.") != NULL;
}

static const struct architecture architectures[] = {{"JinaBertModel", "jina-bert-v2"},
                                                    {"JinaBertForMaskedLM", "jina-bert-v2"},
                                                    {"jina-bert-v2", "jina-bert-v2"},
                                                    {NULL, NULL}};

const struct family jina_bert_family = {.title = "Jina BERT v2",
                                        .architectures = architectures,
                                        .encodes = family_always_encodes,
                                        .build = jina_build,
                                        .unused = jina_unused};
