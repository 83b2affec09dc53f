/* OLMo 2 and 3: norms only after attention and feed-forward, and of q and k over all their heads. OLMo 3 sees a window
 * in three of four layers, whose rotation is never scaled. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {
    {"Olmo2ForCausalLM", "olmo2"}, {"Olmo3ForCausalLM", "olmo2"}, {"olmo2", "olmo2"}, {0}};

/* Both kinds of file have OLMo 3's window where it is one. */
static bool layers_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  bool listed, third = strcmp(checkpoint_architecture(c), "Olmo3ForCausalLM") == 0;
  if (third) d->window = 4096;
  if (!third && checkpoint_kind(c) == CHECKPOINT_HF) return true;
  if (!decoder_read_window(c, &d->window, error) || !decoder_read_layer_types(d, c, &listed, error)) return false;
  if (!listed && d->window > 0) decoder_pattern(d, 4);
  return true;
}

static bool ropes_read(struct decoder *d, const struct checkpoint *c, struct error *error) {
  const struct config_key base = {"rope_theta", "rope.freq_base"};
  if (!rope_read(&d->rope[LAYER_GLOBAL], c, base, 10000, "full_attention", d->max_position, error)) return false;
  d->rope[LAYER_LOCAL] = rope_plain(d->rope[LAYER_GLOBAL].base);
  return !config_has(c, (struct config_key){"rope_parameters.sliding_attention", NULL}) ||
         rope_read(&d->rope[LAYER_LOCAL], c, base, 10000, "sliding_attention", d->max_position, error);
}

static bool olmo2_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  struct decoder d = {
      .prefix = "model.", .act = ACT_SILU, .rope_style = ROPE_HALF, .block = BLOCK_POST, .qk_norm = QK_NORM_WHOLE};
  return decoder_read(&d, checkpoint, error) && decoder_read_variants(&d, checkpoint, error) &&
         layers_read(&d, checkpoint, error) && ropes_read(&d, checkpoint, error) &&
         decoder_build(&d, checkpoint, builder, error);
}

const struct family olmo2_family = {.title = "OLMo 2 and 3", .architectures = architectures, .build = olmo2_build};
