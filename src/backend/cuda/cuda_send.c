/* A batch's way to the device: packed into the pinned slab of a step that is not out, as much as it is, and copied as
 * one. The copy waits in the stream for the step before, so that the device needs one slab however many steps are out.
 * After it KV blocks are copied. */
#include "backend/cuda/cuda_adapted.h"
#include "backend/cuda/cuda_check.h"
#include "backend/sampler.h"

#include <math.h>
#include <string.h>

_Static_assert(sizeof(struct cuda_logprob) == sizeof(struct token_logprob), "the kernel writes a result's likeliest");

/* The host's side of an array of the slab. */
static void *on_host(const struct program *p, const struct cuda_slot *slot, const void *device) {
  return slot->slab + ((const uint8_t *)device - p->slab);
}

/* Blocks that a row's tokens take. Its table may name more, for which the slab has no room. */
static int32_t row_blocks(const struct program *p, const struct row *row) {
  return (row->length + row->count + p->limits.block_size - 1) / p->limits.block_size;
}

static size_t tables_size(const struct program *p, const struct batch *batch) {
  size_t blocks = 0;
  for (int r = 0; r < batch->n_row; r++) blocks += (size_t)row_blocks(p, batch->row + r);
  return blocks * (size_t)p->plan->n_group;
}

static void rows_fill(struct program *p, const struct cuda_slot *slot, const struct batch *batch) {
  struct cuda_row *row = on_host(p, slot, p->on_device.row);
  int32_t *token_row = on_host(p, slot, p->on_device.token_row);
  uint32_t *table = on_host(p, slot, p->on_device.tables), at = 0;
  for (int r = 0; r < batch->n_row; r++) {
    const struct row *from = batch->row + r;
    uint32_t blocks = (uint32_t)row_blocks(p, from);
    row[r] = (struct cuda_row){from->first, from->count, from->length, from->seat, at, blocks};
    for (int t = from->first; t < from->first + from->count; t++) token_row[t] = r;
    for (int g = 0; g < p->plan->n_group; g++, at += blocks) memcpy(table + at, from->block[g], blocks * sizeof *table);
  }
}

/* What a decode step has more than the batch, up to its graph's rows. */
static void rest_fill(struct program *p, const struct cuda_slot *slot, const struct batch *batch) {
  struct cuda_row *row = on_host(p, slot, p->on_device.row);
  int32_t *token_row = on_host(p, slot, p->on_device.token_row), *token = on_host(p, slot, p->on_device.token);
  int32_t *out = on_host(p, slot, p->on_device.out);
  struct cuda_draw *draw = on_host(p, slot, p->on_device.draw);
  for (int r = batch->n_row; r < p->on_device.n_row; r++) {
    row[r] = (struct cuda_row){.first = r};
    token_row[r] = r;
    token[r] = 0;
  }
  for (int i = batch->n_out; i < p->on_device.n_out; i++) {
    out[i] = i;
    draw[i] = (struct cuda_draw){.by_host = true};
  }
}

/* A seat's last token stays −1 and is taken from the device, unless the host has drawn it. */
static void tokens_fill(struct program *p, const struct cuda_slot *slot, const struct batch *batch) {
  int32_t *token = on_host(p, slot, p->on_device.token);
  memcpy(token, batch->token, (size_t)batch->n_token * sizeof *token);
  for (int r = 0; r < batch->n_row; r++) {
    const struct row *row = batch->row + r;
    int32_t *last = token + row->first + row->count - 1;
    if (*last < 0) *last = p->seat_token[row->seat];
  }
}

/* Of tokens that the batch gives none, their index. */
static void places_fill(struct program *p, const struct cuda_slot *slot, const struct batch *batch) {
  int32_t(*place)[3] = on_host(p, slot, p->images.places.place);
  for (int r = 0; r < batch->n_row; r++) {
    const struct row *row = batch->row + r;
    for (int i = 0, t = row->first; i < row->count; i++, t++)
      for (int axis = 0; axis < 3; axis++) place[t][axis] = batch->position ? batch->position[t][axis] : i;
  }
  for (int t = batch->n_token; t < p->on_device.n_token; t++) memset(place[t], 0, sizeof place[t]);
}

/* --- outputs ------------------------------------------------------------------------------------------------------ */

static bool drawn_by_host(const struct program *p, const struct sampling *s) {
  bool typical = s->draw == DRAW_TOKEN && s->typical_p > 0 && s->typical_p < 1;
  return p->chunks == 0 || typical || (cuda_rules_act(s) && !p->rules);
}

static bool rules_wanted(const struct program *p, const struct batch *batch) {
  for (int i = 0; i < batch->n_out; i++)
    if (cuda_rules_act(&batch->sampling[i]) && !drawn_by_host(p, &batch->sampling[i])) return true;
  return false;
}

static struct cuda_draw draw_of(const struct program *p, const struct sampling *s, int32_t seat) {
  return (struct cuda_draw){.seed = s->seed,
                            .index = s->index,
                            .scale = SAMPLER_LOG2E / fminf(s->temperature, 1e30f),
                            .top_p = fmaxf(s->top_p, 0),
                            .min_p = s->min_p,
                            .top_k = s->top_k,
                            .n_top = s->n_top,
                            .target = s->target,
                            .seat = seat,
                            .scored = s->draw == DRAW_SCORE,
                            .greedy = s->draw == DRAW_BEAM || !(s->temperature >= SAMPLER_GREEDY),
                            .want_logprob = s->want_logprob,
                            .beam = s->draw == DRAW_BEAM,
                            .by_host = drawn_by_host(p, s)};
}

/* Only a row's last token is what its seat goes on with. */
static void output_fill(struct program *p, const struct cuda_slot *slot, const struct batch *batch, int output,
                        const struct row *row, struct cuda_room *room) {
  const struct sampling *s = &batch->sampling[output];
  bool goes_on = s->draw == DRAW_TOKEN && batch->out[output] == row->first + row->count - 1;
  struct cuda_draw *draw = (struct cuda_draw *)on_host(p, slot, p->on_device.draw) + output;
  *draw = draw_of(p, s, goes_on ? row->seat : -1);
  if (!draw->by_host && cuda_rules_act(s)) {
    struct cuda_rules *rules = on_host(p, slot, p->on_device.rules);
    draw->ruled = cuda_rules_fill(room, s, row->seat, p->seat_token[row->seat], rules + output);
    draw->by_host = !draw->ruled;
  }
  if (goes_on && !draw->by_host) p->seat_token[row->seat] = -1;
}

static void outputs_fill(struct program *p, struct cuda_slot *slot, const struct batch *batch, struct cuda_room *room) {
  const struct row *row = batch->row;
  memcpy(on_host(p, slot, p->on_device.out), batch->out, (size_t)batch->n_out * sizeof *batch->out);
  *(struct cuda_results *)on_host(p, slot, p->on_device.results) = slot->results;
  slot->n_out = batch->n_out;
  slot->want_logits = batch->want_logits;
  slot->by_host = false;
  p->plain = !batch->want_logits;
  for (int i = 0; i < batch->n_out; i++) {
    while (batch->out[i] >= row->first + row->count) row++;
    output_fill(p, slot, batch, i, row, room);
    const struct cuda_draw *draw = (const struct cuda_draw *)on_host(p, slot, p->on_device.draw) + i;
    slot->by_host |= draw->by_host;
    p->plain &= draw->greedy && !draw->scored && !draw->want_logprob && !draw->by_host && !draw->ruled;
  }
}

size_t cuda_batch_lay(struct program *p, struct cuda_batch counts, bool sees, size_t n_table) {
  p->on_device = counts;
  p->on_device.n_chunk = cuda_chunks_most(p->plan, &p->limits, counts.n_token, counts.n_row);
  p->on_device.last = p->last;
  if (p->adapted) cuda_adapters_lay(p);
  return cuda_slab_lay(p->plan, sees, n_table, p->slab, &p->on_device, &p->images.places);
}

/* A step of one token a row has the counts of its graph. */
static size_t batch_lay(struct program *p, const struct batch *batch) {
  struct cuda_batch counts = {.n_row = batch->n_row, .n_token = batch->n_token, .n_out = batch->n_out};
  bool single = batch->n_token == batch->n_row && !batch->see && !cuda_pool_named(batch);
  p->decode = single ? cuda_graph_find(p, batch->n_row) : NULL;
  if (p->decode) counts.n_row = counts.n_token = counts.n_out = p->decode->rows;
  return cuda_batch_lay(p, counts, batch->see != NULL, tables_size(p, batch));
}

/* In order: one may copy what an earlier one has written. */
static bool blocks_copy(struct program *p, const struct batch *batch, struct error *error) {
  for (int i = 0; i < batch->n_copy; i++) {
    const struct kv_copy *copy = batch->copy + i;
    size_t bytes = p->block_bytes[copy->group];
    uint8_t *cache = p->cache[copy->group].base;
    if (!cuda_check(cudaMemcpyAsync(cache + copy->to * bytes, cache + copy->from * bytes, bytes,
                                    cudaMemcpyDeviceToDevice, p->device->stream),
                    "copying KV blocks", error))
      return false;
  }
  return true;
}

bool cuda_send(struct program *p, struct cuda_slot *slot, const struct batch *batch, struct error *error) {
  size_t bytes = batch_lay(p, batch);
  const struct cuda_batch *on_device = &p->on_device;
  struct cuda_room room = {.host = slot->slab, .device = p->slab, .bytes = p->slab_bytes, .used = bytes};
  p->ruled = rules_wanted(p, batch);
  rows_fill(p, slot, batch);
  rest_fill(p, slot, batch);
  cuda_attention_fill(p, on_host(p, slot, on_device->row), batch->n_row, on_host(p, slot, on_device->cut),
                      on_host(p, slot, on_device->chunk));
  tokens_fill(p, slot, batch);
  if (p->images.places.place) places_fill(p, slot, batch);
  cuda_pool_send(p, batch, &room);
  outputs_fill(p, slot, batch, &room);
  if (batch->see) memcpy(on_host(p, slot, on_device->see), batch->see, (size_t)batch->n_token * sizeof *batch->see);
  return cuda_check(cudaMemcpyAsync(p->slab, slot->slab, room.used, cudaMemcpyHostToDevice, p->device->stream),
                    "copying a batch to the GPU", error) &&
         (!p->adapted || cuda_adapters_send(p, slot, batch, error)) && blocks_copy(p, batch, error);
}
