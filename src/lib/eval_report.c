/* Reports of evaluations: what a plot and a manifest read too. */
#include "lib/eval_report.h"

#include "base/json.h"

#include <inttypes.h>
#include <math.h>

/* `,"name":value`, in as many digits as it has. */
static void figure_write(struct buffer *out, const char *name, double value) {
  buffer_print(out, ",\"%s\":", name);
  json_write_number(out, value);
}

static void side_write(struct buffer *out, const struct text_side *side, size_t tokens) {
  figure_write(out, "loss", side->loss);
  figure_write(out, "perplexity", exp(side->loss));
  figure_write(out, "seconds", side->seconds);
  figure_write(out, "tokens_per_second", side->seconds > 0 ? (double)tokens / side->seconds : 0);
}

void text_loss_write(struct buffer *out, const struct text_eval *eval, const struct text_loss *loss) {
  buffer_print(out, "\"text\":{\"tokens\":%zu,\"bytes\":%zu,\"window\":%d", loss->tokens, loss->bytes, loss->window);
  side_write(out, &loss->side[0], loss->tokens);
  if (loss->bytes > 0)
    figure_write(out, "bits_per_byte", loss->side[0].loss * (double)loss->tokens / (log(2) * (double)loss->bytes));
  buffer_text(out, "}");
  if (!eval->against) return;
  buffer_text(out, ",\"against\":{");
  engine_write(out, eval->against);
  side_write(out, &loss->side[1], loss->tokens);
  figure_write(out, "mean_kl", loss->mean_kl);
  figure_write(out, "p999_kl", loss->p999_kl);
  figure_write(out, "most_kl", loss->most_kl);
  figure_write(out, "same_top", loss->same_top);
  buffer_text(out, "}");
}

void engine_write(struct buffer *out, const struct loaded_engine *engine) {
  const struct engine_facts *facts = engine->file.facts;
  buffer_text(out, "\"model\":");
  json_write_string(out, slice_text(facts->name));
  buffer_print(out,
               ",\"quant_mode\":\"%s\",\"quant_algo\":\"%s\",\"device\":", quant_mode_name(facts->config.quant_mode),
               quant_method_name(facts->config.quant_method));
  json_write_string(out, slice_text(engine->backend->describe(engine->device)));
  buffer_print(out, ",\"weight_bytes\":%" PRIu64, engine->footprint.weights + engine->footprint.host_weights);
}

void share_write(struct buffer *out, const char *name, size_t right, size_t n) {
  double share = (double)right / (double)n;
  figure_write(out, name, share);
  buffer_print(out, ",\"%s_stderr\":", name);
  json_write_number(out, sqrt(share * (1 - share) / ((double)n - 1)));
}

void samples_write(struct buffer *out, const struct buffer *samples) {
  buffer_text(out, ",\"samples\":[");
  buffer_append(out, samples->data, samples->size);
  buffer_text(out, "]");
  out->failed = out->failed || samples->failed;
}
