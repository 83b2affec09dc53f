/* A share of the streams' time, or what their target leaves. */
#include "schedule/encoder_pace.h"

static const double share = 0.4; /* of a step, without a target: gaps grow by less than half on average */
static const double credit_most_us = 250000, forget = 0.25;

void encoder_pace_step(struct encoder_pace *pace, double step_us) {
  double left = pace->target_us > step_us ? (pace->target_us - step_us) / 2 : 0, part = share * step_us;
  pace->credit_us += left > part ? left : part;
  /* What was saved while nothing came is no leave to stall everybody later; what is owed is paid whole. */
  double most = pace->target_us > 0 ? pace->target_us / 2 : credit_most_us;
  if (pace->credit_us > most) pace->credit_us = most;
}

int32_t encoder_pace_tokens(const struct encoder_pace *pace, bool streams, int32_t each, int32_t most) {
  if (!streams || pace->token_us <= 0) return most;
  if (pace->credit_us < 0) return 0;
  double paid = pace->credit_us / pace->token_us;
  int32_t tokens = paid < most ? (int32_t)paid : most;
  return tokens < each ? each : tokens; /* one whole image may be paid for afterwards: it cannot be divided */
}

void encoder_pace_ran(struct encoder_pace *pace, bool streams, int32_t tokens, double run_us) {
  double token_us = run_us / tokens;
  pace->token_us += pace->token_us > 0 ? forget * (token_us - pace->token_us) : token_us;
  pace->credit_us = streams ? pace->credit_us - run_us : 0;
}
