/* Credit that is granted, and used. */
#include "schedule/encoder_pace.h"

static const double forget = 0.25;

void encoder_pace_grant(struct encoder_pace *pace, double us) {
  if (us < 0) return;
  pace->credit_us += us;
  if (pace->credit_us > us) pace->credit_us = us;
}

double encoder_pace_slice(const struct encoder_pace *pace, double granted_us) {
  if (granted_us < 0) return ENCODER_ALONE_US;
  return pace->credit_us > 0 ? pace->credit_us : 0;
}

int32_t encoder_pace_tokens(const struct encoder_pace *pace, double granted_us, bool cut, int32_t each, int32_t most) {
  if (granted_us < 0 || (!cut && pace->token_us <= 0)) return most;
  double paid = cut ? ENCODER_BESIDE : pace->credit_us / pace->token_us;
  int32_t tokens = paid < most ? (int32_t)paid : most;
  return tokens < each ? each : tokens;
}

void encoder_pace_ran(struct encoder_pace *pace, double granted_us, double us) {
  pace->credit_us = granted_us < 0 ? 0 : pace->credit_us - us;
}

void encoder_pace_learn(struct encoder_pace *pace, int32_t tokens, double us) {
  double token_us = us / tokens;
  pace->token_us += pace->token_us > 0 ? forget * (token_us - pace->token_us) : token_us;
}
