/* The time between tokens is kept under a target: a schedule under a load that never lets up, on a simulated device
 * whose steps take what a formula says, and by chance more or less. What can be had at best follows from the formula.
 */
#include "schedule_fixture.h"

#include "schedule/gap_target.h"

#include <math.h>

enum { SEATS = 64, CLIENTS = 64, PROMPT = 2000, ANSWER = 100, STEP_TOKENS = 8192, WARM = 300 };

/* Microseconds: of a step, of a stream's token, of a prompt's, of a token that either looks back at. */
struct device {
  double step, stream, prompt, stream_context, prompt_context;
  double noise;  /* standard deviation of the logarithm of a step's time */
  double hiccup; /* one in so many takes ten times as long; 0: none does */
  int tile;      /* so many tokens of prompts cost as much as one of them; 0: 1 */
  double floor;  /* a step takes as long, at least: what is read is no less for few tokens */
};

static const struct device plain = {
    .step = 5000, .stream = 300, .prompt = 60, .stream_context = 0.05, .prompt_context = 0.005};

struct out {
  const struct batch *batch;
  int n_stream;
  double us, work_us;
};

struct world {
  struct schedule *schedule;
  int run_ahead, n_out;
  struct out out[2];
  struct device device;
  struct sequence client[CLIENTS];
  int32_t tokens[CLIENTS][PROMPT + ANSWER];
  int n_client;
  uint64_t now_us, dice;
  /* since counting began */
  double us, work_us;              /* passed, and what of it was tokens' */
  int steps, gaps, late, finished; /* gaps: steps with streams */
  double budget, budget_square;    /* prompt tokens of those */
};

static double chance(struct world *w) {
  w->dice = w->dice * 6364136223846793005u + 1442695040888963407u;
  return ((double)(w->dice >> 11) + 1) / 9007199254740994.0;
}

static double noise_draw(struct world *w) {
  return exp(w->device.noise * sqrt(-2 * log(chance(w))) * cos(2 * acos(-1) * chance(w)));
}

static void client_begin(struct world *w, int i) {
  int prompt = PROMPT / 2 + (int)(chance(w) * PROMPT / 2), answer = ANSWER / 2 + (int)(chance(w) * ANSWER / 2);
  w->client[i] = (struct sequence){.tokens = w->tokens[i], .n_prompt = prompt, .max_tokens = answer};
  schedule_add(w->schedule, &w->client[i], w->now_us);
}

static void world_begin_ahead(struct world *w, const struct device *device, double target_us, int n_client,
                              int run_ahead) {
  struct limits limits = limits_make(SEATS, STEP_TOKENS, PROMPT + ANSWER, 65536);
  struct schedule_options options = {
      .limits = &limits, .n_group = 1, .run_ahead = run_ahead, .no_reuse = true, .target_gap_us = target_us};
  memset(w, 0, sizeof *w);
  w->run_ahead = run_ahead;
  w->schedule = schedule_new(&options);
  w->device = *device;
  w->dice = 7;
  w->n_client = n_client;
  w->now_us = 1000;
  for (int i = 0; i < n_client; i++) client_begin(w, i);
}

static void world_begin(struct world *w, const struct device *device, double target_us, int n_client) {
  world_begin_ahead(w, device, target_us, n_client, 0);
}

static void count_begin(struct world *w) {
  w->us = w->work_us = w->budget = w->budget_square = 0;
  w->steps = w->gaps = w->late = w->finished = 0;
}

static double tokens_us(const struct world *w, const struct batch *batch, int *n_stream) {
  const struct device *d = &w->device;
  double us = 0;
  *n_stream = 0;
  for (int i = 0; i < batch->n_row; i++) {
    double count = batch->row[i].count, before = batch->row[i].length;
    bool stream = batch->row[i].count == 1 && i == *n_stream;
    *n_stream += stream;
    us += stream ? d->stream + d->stream_context * before
                 : d->prompt * count + d->prompt_context * count * (before + count / 2);
  }
  if (d->tile > 0) us += d->prompt * ((d->tile - (batch->n_token - *n_stream) % d->tile) % d->tile);
  return us + d->step < d->floor ? d->floor - d->step : us;
}

/* A step that is out: it takes its time once the one before it is done. */
static void step_begin(struct world *w, const struct batch *batch) {
  struct out *out = &w->out[w->n_out++];
  *out = (struct out){.batch = batch};
  out->work_us = tokens_us(w, batch, &out->n_stream);
  out->us = (w->device.step + out->work_us) * noise_draw(w);
  if (w->device.hiccup > 0 && chance(w) * w->device.hiccup < 1) out->us *= 10;
}

static void step_count(struct world *w, const struct out *out, double target_us) {
  double n_prompt = out->batch->n_token - out->n_stream;
  w->us += out->us;
  w->work_us += out->work_us;
  w->steps++;
  if (out->n_stream == 0) return;
  w->gaps++;
  w->late += out->us > target_us;
  w->budget += n_prompt;
  w->budget_square += n_prompt * n_prompt;
}

/* As many steps as may be out, and the end of the oldest. Requests that are over are followed by others. */
static void world_step(struct world *w, double target_us) {
  static int32_t token[SEATS];
  static float logprob[SEATS];
  const struct batch *batch;
  while (w->n_out <= w->run_ahead && (batch = schedule_next(w->schedule, w->now_us))) step_begin(w, batch);
  assert_true(w->n_out > 0);
  struct out done = w->out[0];
  w->out[0] = w->out[1];
  w->n_out--;
  step_count(w, &done, target_us);
  w->now_us += (uint64_t)done.us;
  struct result result = {.n_out = done.batch->n_out, .token = token, .logprob = logprob};
  struct schedule_events events;
  schedule_done(w->schedule, &result, w->now_us, &events);
  for (int i = 0; i < events.n_event; i++) {
    struct sequence *q = events.event[i].sequence;
    bool over = events.event[i].kind == EVENT_OUT;
    if (!over && q->n_token == q->n_prompt + q->max_tokens) over = schedule_remove(w->schedule, q);
    if (!over) continue;
    w->finished++;
    if (q - w->client < w->n_client) client_begin(w, (int)(q - w->client));
  }
}

static void world_run(struct world *w, double target_us, int steps) {
  for (int i = 0; i < steps; i++) world_step(w, target_us);
}

static void world_end(struct world *w) { schedule_free(w->schedule); }

/* The part of the time that tokens get when 99 of 100 steps just keep the target. */
static double best_share(const struct device *d, double target_us) {
  return (1 - d->step * exp(2.326 * d->noise) / target_us) / exp(d->noise * d->noise / 2);
}

static void kept_check(const struct world *w, double target_us, double late, double share) {
  double mean = w->budget / w->gaps, spread = sqrt(w->budget_square / w->gaps - mean * mean);
  if (getenv("SPATE_VERBOSE"))
    printf("target %.0f: late %d of %d, work %.3f of %.3f, prompt tokens %.0f ± %.0f, finished %d\n", target_us,
           w->late, w->gaps, w->work_us / w->us, best_share(&w->device, target_us), mean, spread, w->finished);
  assert_true(w->late <= late * w->gaps);
  assert_true(w->work_us / w->us >= share * best_share(&w->device, target_us));
}

static struct world world; /* too large for a stack */

static void target_check(double noise, double target_us, int run_ahead) {
  struct device device = plain;
  device.noise = noise;
  world_begin_ahead(&world, &device, target_us, CLIENTS, run_ahead);
  world_run(&world, target_us, WARM);
  count_begin(&world);
  world_run(&world, target_us, 4000);
  kept_check(&world, target_us, 0.015, 0.85);
  world_end(&world);
}

static void test_kept(void **state) {
  (void)state;
  for (int run_ahead = 0; run_ahead < 2; run_ahead++)
    for (double target_us = 15000; target_us <= 60000; target_us *= 2) {
      target_check(0, target_us, run_ahead);
      target_check(0.05, target_us, run_ahead);
      target_check(0.15, target_us, run_ahead);
    }
}

/* Devices that the five terms do not describe: the gap is kept, and the time used, all the same. */
static void test_other_devices(void **state) {
  (void)state;
  const double target_us = 30000;
  struct device hiccups = plain, tiles = plain, reads = plain;
  hiccups.noise = tiles.noise = reads.noise = 0.05;
  hiccups.hiccup = 400;
  tiles.tile = 64;
  reads.floor = 20000;
  const struct device *const devices[] = {&hiccups, &tiles, &reads};
  for (int i = 0; i < 6; i++) {
    world_begin_ahead(&world, devices[i / 2], target_us, CLIENTS, i % 2);
    world_run(&world, target_us, WARM);
    count_begin(&world);
    world_run(&world, target_us, 4000);
    kept_check(&world, target_us, 0.02, 0.75);
    world_end(&world);
  }
}

/* From one step to another everything takes twice as long, and then half: it is noticed within WARM steps, and what the
 * target leaves is used again as soon. */
static void test_step_change(void **state) {
  (void)state;
  const double target_us = 40000;
  struct device device = plain;
  device.noise = 0.05;
  world_begin(&world, &device, target_us, CLIENTS);
  world_run(&world, target_us, 1000);
  for (int change = 0; change < 2; change++) {
    double by = change ? 0.5 : 2;
    struct device *d = &world.device;
    double *const times[] = {&d->step, &d->stream, &d->prompt, &d->stream_context, &d->prompt_context};
    for (int i = 0; i < 5; i++) *times[i] *= by;
    world_run(&world, target_us, WARM);
    count_begin(&world);
    world_run(&world, target_us, 2000);
    kept_check(&world, target_us, 0.015, 0.85);
  }
  world_end(&world);
}

/* A target that no stream keeps even alone: few run, their gaps are near what one has, prompts go on, and the count of
 * missed gaps says it. */
static void test_unreachable(void **state) {
  (void)state;
  const double target_us = 1000, alone_us = plain.step + plain.stream + plain.stream_context * PROMPT;
  world_begin(&world, &plain, target_us, CLIENTS);
  world_run(&world, target_us, WARM);
  count_begin(&world);
  world_run(&world, target_us, 20000);
  struct schedule_stats stats = stats_of(world.schedule);
  assert_int_equal(world.late, world.gaps);
  assert_true(stats.gaps_missed >= (uint64_t)world.late && stats.gap_p99_us > alone_us);
  assert_true(stats.gap_p99_us < 1.5 * alone_us);
  assert_true(stats.gap_sequences >= 1 && stats.gap_prompt_tokens >= 8);
  assert_true(world.finished >= 60);
  world_end(&world);
}

/* When the load falls the limits open again: a lone stream beside a prompt gets all that the target leaves. */
static void test_recovery(void **state) {
  (void)state;
  const double target_us = 60000;
  world_begin(&world, &plain, target_us, CLIENTS);
  world_run(&world, target_us, 2000);
  struct schedule_stats busy = stats_of(world.schedule);
  world.n_client = 2;
  while (stats_of(world.schedule).running + stats_of(world.schedule).waiting > 2) world_step(&world, target_us);
  count_begin(&world);
  world_run(&world, target_us, 2000);
  struct schedule_stats calm = stats_of(world.schedule);
  assert_true(calm.gap_sequences >= busy.gap_sequences);
  assert_true(calm.gap_prompt_tokens > busy.gap_prompt_tokens);
  assert_true(world.late <= 0.015 * world.gaps);
  world_end(&world);
}

/* Streams whose contexts grow until their own tokens take the whole target: nobody else starts, and when some end,
 * others do. The cap leaves room for a prompt's progress: each of them ends in time. */
static void test_sequences(void **state) {
  (void)state;
  const double target_us = 15000;
  struct device device = {.step = 2000, .stream = 1000, .prompt = 20, .stream_context = 1, .prompt_context = 0.001};
  world_begin(&world, &device, target_us, CLIENTS);
  world_run(&world, target_us, WARM);
  count_begin(&world);
  int most = 0;
  while (world.steps < 4000) {
    world_step(&world, target_us);
    int running = stats_of(world.schedule).running;
    if (running > most) most = running;
  }
  if (getenv("SPATE_VERBOSE")) printf("%d at once, %d finished\n", most, world.finished);
  assert_true(most >= 4 && most <= 8); /* one with 1,500 tokens behind it takes 2.5 ms */
  assert_true(world.finished > 150);
  kept_check(&world, target_us, 0.015, 0.7);
  world_end(&world);
}

/* Without a target nothing is limited by it, and nothing is counted. */
static void test_no_target(void **state) {
  (void)state;
  world_begin(&world, &plain, 0, CLIENTS);
  world_run(&world, 1, 500);
  struct schedule_stats stats = stats_of(world.schedule);
  assert_int_equal(stats.gap_sequences, 0);
  assert_int_equal(stats.gap_prompt_tokens, 0);
  assert_int_equal(stats.gaps_missed, 0);
  assert_true(stats.running > SEATS / 2);
  world_end(&world);
}

/* --- what steps cost ---------------------------------------------------------------------------------------------- */

/* Steps of all shapes tell each term; a hiccup of fifty times a step's length does not move them far. */
static void test_cost(void **state) {
  (void)state;
  struct step_cost cost;
  struct world dice = {.dice = 3, .device.noise = 0.05};
  step_cost_init(&cost);
  for (int i = 0; i < 2000; i++) {
    struct step_shape shape = {.streams = floor(chance(&dice) * 32), .prompt_tokens = floor(chance(&dice) * 512)};
    shape.stream_context = shape.streams * floor(chance(&dice) * 4000);
    shape.prompt_context = shape.prompt_tokens * floor(chance(&dice) * 4000);
    double us = plain.step + plain.stream * shape.streams + plain.prompt * shape.prompt_tokens +
                plain.stream_context * shape.stream_context + plain.prompt_context * shape.prompt_context;
    double hiccup = i % 500 == 499 ? 50 : 1, predicted = step_cost_us(&cost, &shape);
    if (i > 50) assert_true(fabs(predicted / us - 1) < 0.35);
    step_cost_learn(&cost, &shape, us * noise_draw(&dice) * hiccup);
  }
  struct step_shape none = {0}, one = {.streams = 1}, prompt = {.prompt_tokens = 100};
  double step = step_cost_us(&cost, &none);
  assert_true(fabs(step / plain.step - 1) < 0.2);
  assert_true(fabs((step_cost_us(&cost, &one) - step) / plain.stream - 1) < 0.2);
  assert_true(fabs((step_cost_us(&cost, &prompt) - step) / (100 * plain.prompt) - 1) < 0.2);
}

/* The number of prompt tokens is the one whose predicted time is that which was given. */
static void test_cost_inverse(void **state) {
  (void)state;
  struct step_cost cost = {.term = {1000, 100, 8000, 50, 900}};
  struct step_shape none = {0};
  for (double cached = 0; cached < 10000; cached += 1234) {
    double n = step_cost_prompt_tokens(&cost, cached, 30000);
    struct step_shape shape = {.prompt_tokens = n, .prompt_context = n * (cached + n / 2)};
    assert_true(fabs(step_cost_us(&cost, &shape) - step_cost_us(&cost, &none) - 30000) < 1);
  }
  assert_true(step_cost_prompt_tokens(&cost, 0, -1) == 0);
  step_cost_init(&cost);
  assert_true(isinf(step_cost_prompt_tokens(&cost, 0, 1)));
}

/* Chunks fill tiles, unless not even one fits. */
static void test_tiles(void **state) {
  (void)state;
  struct gap_target target;
  struct step_shape streams = {.streams = 10};
  gap_target_init(&target, 10000);
  assert_int_equal(gap_target_prompt_tokens(&target, &streams, 0, 0, 8192, 0), 64);
  assert_int_equal(gap_target_prompt_tokens(&target, &streams, 0, 0, 8192, 16), 54);
  assert_int_equal(gap_target_prompt_tokens(&target, &streams, 0, 0, 8192, 128), 64);
  assert_int_equal(gap_target_prompt_tokens(&target, &streams, 0, 0, 32, 16), 22);
  assert_int_equal(gap_target_prompt_tokens(&target, &streams, 0, 0, 10, 0), 0);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_kept),        cmocka_unit_test(test_other_devices), cmocka_unit_test(test_step_change),
      cmocka_unit_test(test_unreachable), cmocka_unit_test(test_recovery),      cmocka_unit_test(test_sequences),
      cmocka_unit_test(test_no_target),   cmocka_unit_test(test_cost),          cmocka_unit_test(test_cost_inverse),
      cmocka_unit_test(test_tiles),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
