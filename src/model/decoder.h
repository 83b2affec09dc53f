/* What the families share: a decoder of attention and gated feed-forward layers, described by its settings and turned
 * into a plan. A family reads its config into a struct decoder; variants are fields. The same layers make an encoder of
 * texts, where the builder's role says so: then `tail` is its end, and nothing is kept. */
#ifndef SPATE_MODEL_DECODER_H
#define SPATE_MODEL_DECODER_H

#include "base/limits.h"
#include "model/decoder_names.h"
#include "model/model_config.h"
#include "model/rope_scaling.h"
#include "model/text_tail.h"
#include "plan/plan_builder.h"

enum { HEAD_DIM_MAX = ROPE_DIM_MAX, HEADS_MAX = 1 << 12 };

/* Layers that attend to everything, and layers that see a window: each kind has its KV group and rotation. */
enum layer_kind { LAYER_GLOBAL, LAYER_LOCAL, LAYER_KINDS };

/* Where a layer's norms are and how its two halves follow each other. */
enum decoder_block {
  BLOCK_PRE,      /* a norm before attention and before the feed-forward */
  BLOCK_SANDWICH, /* norms after them too */
  BLOCK_POST,     /* only after them */
  BLOCK_SUM,      /* after them, of the sum with what they were made from */
  BLOCK_PARALLEL, /* both take the layer's input, each through a norm of its own, */
  BLOCK_SHARED,   /* or both through one */
};

/* How checkpoints store q, k and v. */
enum qkv_layout {
  QKV_APART,
  QKV_JOINED,  /* one tensor of all of q, then of k, then of v */
  QKV_GROUPED, /* one tensor: a KV head's queries, its key, its value, then the next head's; GGUF has it joined */
};

enum ff_layout {
  FF_GATED,
  FF_GATED_JOINED, /* gate and up in one tensor, one after the other */
  FF_PLAIN,        /* no gate */
};

/* Norms of q and k. */
enum qk_norm {
  QK_NORM_NONE,
  QK_NORM_HEAD,  /* over a head */
  QK_NORM_WHOLE, /* over all heads, as the network's other norms are */
  QK_NORM_EACH,  /* over a head less its mean, by weights of each head's own */
};

/* Latent attention: keys and values are made from one latent a token and a rotated part that all heads share. */
struct latent_sizes {
  int rank;   /* of the latent; 0: the network has another attention */
  int q_rank; /* of queries; 0: they are projected at once */
  int still;  /* dimensions of a head that do not rotate, */
  int rope;   /* and those that do */
  double eps; /* of the norms of latents */
};

/* How checkpoints store experts. */
enum expert_layout {
  EXPERTS_APART,     /* gate, up and down, a tensor for each expert; in GGUF one for all */
  EXPERTS_JOINED,    /* gate and up are one tensor of all experts, one after the other in each; GGUF has them apart */
  EXPERTS_ALTERNATE, /* one tensor of all experts' gate and up, whose rows alternate, and one of down: transposed, but
                        where they are quantized; GGUF has them apart */
  EXPERTS_PLAIN,     /* without gates: one tensor of all experts' up, and one of down, transposed; GGUF's is not */
};

/* Of layers whose feed-forward is several networks, of which each token has a few. */
struct decoder_experts {
  struct route_args route; /* n_expert 0: there are none; scale 0: 1 */
  int feed_forward;        /* width of each; 0: as that of layers without experts */
  int shared;              /* width of a feed-forward beside them, which every token has; 0: there is none */
  enum expert_layout layout;
  bool router_bias, bias; /* of the router; of the experts' matrices */
  bool choice_bias;       /* a vector that counts for the choice alone */
  bool sum_bias;          /* a vector that is added to what a token's experts make together; with BLOCK_SUM */
};

struct decoder {
  const char *prefix;                /* of tensor names in a Hugging Face checkpoint: "model." */
  const char *head_prefix;           /* of the head's there; NULL: none */
  const struct decoder_names *names; /* NULL: Llama's */
  /* Rows that come before those, of files that are as transformers 5 has the network in memory; NULL: it is none. */
  const struct decoder_names *stacked;
  int n_layer, n_head, n_kv_head, head_dim;
  int hidden, feed_forward, vocab, max_position;
  double eps;
  enum act_kind act;
  enum decoder_block block;
  enum qkv_layout qkv_layout;
  enum ff_layout ff_layout;
  enum qk_norm qk_norm;
  bool qkv_bias, out_bias, mlp_bias;
  bool down_bias;             /* of a feed-forward's last matrix, where mlp_bias is not */
  bool layer_norm, norm_bias; /* norms are no RMS norms; they have shifts */
  bool tied;                  /* the head is the embedding table, unless another is stored */
  bool head_bias;             /* of a head that is not */
  bool transposed;            /* matrices of layers are stored so in a Hugging Face checkpoint */
  bool positions;             /* a table of them is added to the embeddings, */
  int skip;                   /* of which the first place is behind so many rows, */
  int types;                  /* and one of so many types of tokens; 0: none */
  bool embed_norm;            /* of all that are added */
  bool first_bare;            /* the first layer's attention has no norm before it */
  bool both_ways;             /* a token of an encoder of texts sees those behind it too */
  float norm_add;             /* added to the weights of norms: 1 where they are stored as an offset from one */
  float embed_scale, residual_scale, logit_scale; /* 0: 1 */
  float attend_scale, attend_softcap, final_softcap;
  float grow;               /* of scores with the position, as in struct attend_args; 0: they do not, */
  int grow_from;            /* or from so many tokens on */
  float clip;               /* of q, k and v, behind norms of all heads; 0: none */
  const float *distances;   /* of an encoder of texts: what scores gain, as LEAN_DISTANCES has it; NULL: nothing */
  float alibi, alibi_scale; /* the slopes are alibi_scale × 2^(−alibi × (head + 1) / heads); 0: none */
  enum rope_style rope_style;
  int rope_dim;         /* leading dimensions of a head that rotate */
  float rope_part;      /* their part of a head, of a config.json that does not say; 0: all */
  int32_t rope_axis[3]; /* frequencies of each axis; all 0: one axis */
  struct rope rope[LAYER_KINDS];
  struct latent_sizes latent; /* head_dim is that of values then, and there is one KV head */
  int window;          /* of LAYER_LOCAL, in tokens, itself included; both_ways: before itself, and as many behind */
  bool sinks;          /* a logit for each head */
  float limit, up_add; /* of gated feed-forwards: as in struct linear_args */
  uint8_t layer_kind[LIMIT_MODEL_LAYERS];
  bool layer_still[LIMIT_MODEL_LAYERS]; /* nothing rotates */
  struct decoder_experts experts;
  bool layer_dense[LIMIT_MODEL_LAYERS]; /* without experts, in a network that has some */
  struct text_tail tail;                /* of an encoder of texts */
};

/* Reads what every family's config has. Fields set before are the family's defaults (0: the config must say), and the
 * other fields keep what they hold: all zero is the plainest network. Sets attend_scale to 1/√head_dim. Of latent
 * attention the family reads heads' sizes itself, before. */
bool decoder_read(struct decoder *decoder, const struct checkpoint *checkpoint, struct error *error);

/* Makes a layer local if the config's list of layer types says so; *listed tells whether there is such a list. */
bool decoder_read_layer_types(struct decoder *decoder, const struct checkpoint *checkpoint, bool *listed,
                              struct error *error);

/* Is the head's weight the tokens' table's? A file that stores another head than the table that its config says it is
 * means that one, as in transformers 5: both are looked up, and where both are stored, read and compared. */
bool decoder_head_is_table(const struct decoder *decoder, const struct checkpoint *checkpoint);

/* Of a GGUF file: a tensor is there or not. */
bool decoder_has(const struct checkpoint *checkpoint, const char *tensor);

bool decoder_name_ends(const char *tensor, const char *end);

/* The key of the rotation's base in files that may have it under an old name. */
struct config_key decoder_rope_key(const struct checkpoint *checkpoint, const char *old);

/* Reads what most families have: activation, whether head and embedding are one table, biases. Of GGUF files the
 * tensors tell. */
bool decoder_read_variants(struct decoder *decoder, const struct checkpoint *checkpoint, struct error *error);

/* Reads an activation by the name that transformers has for it; an absent key leaves it as it is. */
bool decoder_read_act(const struct checkpoint *checkpoint, struct config_key key, enum act_kind *act,
                      struct error *error);

/* Reads sizes that a family has keys of its own for in config.json, before decoder_read; a `max` of 0 ends the list. An
 * absent key is an error where the value is 0. */
struct decoder_size {
  const char *key;
  int max, *value;
};
bool decoder_read_sizes(const struct checkpoint *checkpoint, const struct decoder_size *sizes, struct error *error);

/* Reads "sliding_window", which config.json may have as null, or the file not at all: then *window stays. 0, as GGUF
 * files of Phi-4 have it, is none. */
bool decoder_read_window(const struct checkpoint *checkpoint, int *window, struct error *error);

/* Of networks whose layers are alike: one rotation, and the window, if the config has one, in each of them. */
bool decoder_read_alike(struct decoder *decoder, const struct checkpoint *checkpoint, struct error *error);

/* Makes all layers local but every pattern-th. */
void decoder_pattern(struct decoder *decoder, int pattern);

/* Checks that the named activation is the expected one (of several spellings, NULL at the end). */
bool decoder_expect_act(const struct checkpoint *checkpoint, struct config_key key, const char *const *names,
                        struct error *error);

/* Reads how many experts there are (by config.json's key for it), how many a token has, how wide they are, and whether
 * their weights are divided by their sum. */
bool decoder_read_experts(struct decoder *decoder, const struct checkpoint *checkpoint, const char *count_key,
                          struct error *error);
/* ALiBi's slope of a head, by "Train short, test long" (Press et al. 2022): 2^(−most × (head + 1) / heads), and its way
 * for numbers of heads that are no power of two. */
float decoder_slope(double most, int n_head, int head);

/* Whether those that a token has are as wide together as a value may be. */
bool decoder_experts_fit(const struct decoder *decoder, struct error *error);
/* Which layers have none: all but every decoder_sparse_step-th, and those of mlp_only_layers. */
bool decoder_read_sparse(struct decoder *decoder, const struct checkpoint *checkpoint, struct error *error);

bool decoder_build(const struct decoder *d, const struct checkpoint *checkpoint, struct plan_builder *builder,
                   struct error *error);

#endif
