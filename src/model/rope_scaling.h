/* Rotary embeddings: from the settings of a checkpoint to inverse frequencies. */
#ifndef SPATE_MODEL_ROPE_SCALING_H
#define SPATE_MODEL_ROPE_SCALING_H

#include "model/model_config.h"

enum rope_scaling { ROPE_PLAIN, ROPE_LINEAR, ROPE_LLAMA3, ROPE_YARN, ROPE_LONG };
enum { ROPE_DIM_MAX = 1 << 10 };

struct rope {
  double base; /* theta */
  enum rope_scaling scaling;
  double factor;                      /* by which the context was stretched */
  double original;                    /* positions before that; LLAMA3 and YARN */
  double low_factor, high_factor;     /* LLAMA3: wavelengths per original context between which it blends */
  double beta_fast, beta_slow;        /* YARN: rotations over the original context between which it blends */
  bool truncate;                      /* YARN: the blend starts and ends at whole dimensions */
  double attention;                   /* YARN and LONG: multiplies cos and sin */
  double score;                       /* YARN: some networks' scores are multiplied with its square */
  int n_divisor;                      /* LONG: of each of the two; 0: the file has them as tensors */
  float divisor[2][ROPE_DIM_MAX / 2]; /* LONG: of frequencies, for texts up to the original length, and for longer ones
                                       */
};

/* Reads base and scaling. base_key and its default serve files that keep the base outside a scaling object; `layers`
 * ("full_attention", "sliding_attention") picks one where the settings differ by kind of layer, otherwise NULL.
 * max_position is the network's, for scalings that do not name the original. */
bool rope_read(struct rope *rope, const struct checkpoint *checkpoint, struct config_key base_key, double base,
               const char *layers, int max_position, struct error *error);

/* The same without any scaling. */
struct rope rope_plain(double base);

/* Gives a rotation YaRN's scaling, as configs mean it that do not say it: a blend between fractional dimensions. */
void rope_yarn(struct rope *rope, double factor, double original);

/* dim / 2 inverse frequencies of a head of which dim (even) dimensions rotate, for texts of up to `length` tokens. */
bool rope_frequencies(const struct rope *rope, int dim, int length, float *out, struct error *error);

/* Whether texts of up to `length` tokens have the rotation of the long ones. The choice is one for all texts of an
 * engine: what the cache holds has to fit what comes. */
bool rope_is_long(const struct rope *rope, int length);

#endif
