/* Phi-3, 3.5 and 4: Llama's network with q, k and v in one tensor and gate and up in another, a window in some, a
 * rotation of a part of each head in others, and frequencies with divisors for short and for long texts. */
#include "model/decoder.h"
#include "model/family.h"

static const struct architecture architectures[] = {{"Phi3ForCausalLM", "phi3"}, {"phi3", "phi3"}, {0}};

static bool phi3_build(const struct checkpoint *checkpoint, struct plan_builder *builder, struct error *error) {
  struct decoder d = {.prefix = "model.",
                      .act = ACT_SILU,
                      .rope_style = ROPE_HALF,
                      .qkv_layout = QKV_JOINED,
                      .ff_layout = FF_GATED_JOINED};
  if (!decoder_read(&d, checkpoint, error) || !decoder_read_variants(&d, checkpoint, error) ||
      !decoder_read_alike(&d, checkpoint, error))
    return false;
  return decoder_build(&d, checkpoint, builder, error);
}

const struct family phi3_family = {.title = "Phi-3, 3.5, 4", .architectures = architectures, .build = phi3_build};
