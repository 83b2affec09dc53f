/* SmolLM3: Llama's network in which some layers, every fourth as a rule, rotate nothing. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"SmolLM3ForCausalLM", "smollm3"}, {"smollm3", "smollm3"}, {0}};

/* A list with a 0 for each layer that rotates nothing, or every interval-th. */
static bool still_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key list = {"no_rope_layers", NULL}, interval = {"no_rope_layer_interval", NULL};
  int every = 4, count = -1, rotates;
  if (!config_list(c, list, &count, error) ||
      !config_int(c, interval, CONFIG_OPTIONAL, 1, LIMIT_MODEL_LAYERS, &every, error))
    return false;
  if (count >= 0 && count != d->n_layer)
    return error_set(error, ERROR_INVALID,
                     "config.json: no_rope_layers has length %d, expected %d: one for each layer.", count, d->n_layer);
  for (int i = 0; i < d->n_layer; i++) {
    rotates = (i + 1) % every != 0;
    if (count >= 0 && !config_list_int(c, list, i, 0, 1, &rotates, error)) return false;
    d->layer_still[i] = !rotates;
  }
  return true;
}

static bool window_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool window = false, listed;
  if (!config_bool(c, (struct config_key){"use_sliding_window", NULL}, &window, error)) return false;
  if (!window) return true;
  if (!decoder_read_window(c, &d->window, error) || !decoder_read_layer_types(d, c, &listed, error)) return false;
  return (listed && d->window > 0) ||
         error_set(error, ERROR_INVALID,
                   "config.json: use_sliding_window is true, but sliding_window or layer_types is missing.");
}

static bool smollm3_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  bool gguf = checkpoint_kind(checkpoint) == CHECKPOINT_GGUF;
  /* There the rows of q and k are reordered. */
  struct decoder d = {.prefix = "model.", .act = ACT_SILU, .rope_style = gguf ? ROPE_PAIRS : ROPE_HALF, .tied = true};
  if (!decoder_read(&d, checkpoint, error) || !decoder_read_variants(&d, checkpoint, error) ||
      !window_read(&d, checkpoint, error) || !still_read(&d, checkpoint, error) ||
      !rope_read(&d.rope[LAYER_GLOBAL], checkpoint, (struct config_key){"rope_theta", "rope.freq_base"}, 2e6, NULL,
                 d.max_position, error))
    return false;
  d.rope[LAYER_LOCAL] = d.rope[LAYER_GLOBAL];
  return decoder_build(&d, checkpoint, builder, error);
}

const struct family smollm3_family = {.title = "SmolLM3", .architectures = architectures, .build = smollm3_build};
