/* A step in slices: calls cut by rows, whose sums depend on nothing but the row, so that the bytes are those of a step
 * that runs at once. What a unit of work takes is measured on the way, and tells how many rows the time that is left is
 * good for. */
#include "backend/cpu/cpu_program.h"
#include "base/clock.h"

enum {
  LINEAR_ROWS = 32, /* whole blocks of arranged rows; fewer would read the weights too often */
  OTHER_ROWS = 64,
};

static const double memory = 0.25; /* weight of a new piece in the averages */

/* Rows of the call that runs next; of an attention first tokens, then blocks of queries. */
static int stage_rows(const struct program *program, const struct call *call) {
  switch (call->op->kind) {
  case OP_LINEAR: return value_rows(program, call->op->in[0]);
  case OP_ATTEND: return program->slice.stored ? program->n_query_block : program->batch->n_token;
  case OP_SELECT: return program->batch->n_out;
  default: return program->batch->n_token;
  }
}

static enum slice_kind stage_kind(const struct program *program, const struct call *call) {
  bool attends = call->op->kind == OP_ATTEND && program->slice.stored;
  return call->op->kind == OP_LINEAR ? SLICE_LINEAR : attends ? SLICE_ATTEND : SLICE_OTHER;
}

/* Units of work of a row: products, or numbers that are moved. */
static double row_work(const struct program *program, const struct call *call) {
  const struct attend_args *args = &call->op->args.attend;
  if (call->op->kind == OP_LINEAR) return (double)call->layout.cols * call->layout.rows;
  if (call->op->kind == OP_ATTEND && program->slice.stored)
    return (double)program->query_block[program->slice.row].cost * args->n_head * (args->dim_k + args->dim_v);
  return (double)value_cols(program, call->op->out);
}

/* Whatever is not named here is one piece; experts, too, which have the rows of all tokens together. */
static bool call_is_cut(const struct call *call) {
  switch (call->op->kind) {
  case OP_LINEAR: return call->op->args.linear.expert_mode == EXPERTS_NONE;
  case OP_EMBED:
  case OP_ATTEND:
  case OP_SELECT: return true;
  default: return false;
  }
}

/* The next rows that the time is good for: the fewest that make sense at least. */
static struct range rows_next(const struct program *program, const struct call *call, double us) {
  if (!call_is_cut(call)) return (struct range){0, stage_rows(program, call)};
  enum slice_kind kind = stage_kind(program, call);
  int least = kind == SLICE_LINEAR ? LINEAR_ROWS : kind == SLICE_ATTEND ? 1 : OTHER_ROWS;
  int first = program->slice.row, left = stage_rows(program, call) - first, count = least;
  double each = program->slice.us[kind] * row_work(program, call);
  if (each > 0 && us > each * least) count = us / each < left ? (int)(us / each) / least * least : left;
  return (struct range){first, count < left ? count : left};
}

/* A piece of work for the team. */
struct piece {
  struct program *program;
  const struct call *call; /* NULL: what goes before the first */
  struct range rows;
};

static void piece_run(void *context, int worker) {
  const struct piece *piece = context;
  struct program *program = piece->program;
  const struct call *call = piece->call;
  if (!call) {
    step_prepare(program, worker);
    return;
  }
  if (!call_is_cut(call)) {
    call_run(program, call, worker);
    return;
  }
  switch (call->op->kind) {
  case OP_EMBED: call_embed(program, call, piece->rows, worker); break;
  case OP_LINEAR: call_linear(program, call, piece->rows, worker); break;
  case OP_ATTEND:
    if (program->slice.stored)
      call_attend(program, call, piece->rows, worker);
    else
      call_store(program, call, piece->rows, worker);
    break;
  case OP_SELECT: call_select(program, call, piece->rows, worker); break;
  default: break; /* call_is_cut names those above */
  }
}

static void cost_note(struct step_slice *slice, enum slice_kind kind, double us) {
  slice->us[kind] += slice->us[kind] > 0 ? memory * (us - slice->us[kind]) : us;
}

static void slice_move(struct program *program, const struct call *call, struct range rows) {
  struct step_slice *slice = &program->slice;
  slice->row = rows.first + rows.count;
  if (slice->row < stage_rows(program, call)) return;
  slice->row = 0;
  slice->stored = call->op->kind == OP_ATTEND && !slice->stored;
  slice->call += !slice->stored;
  slice->whole = slice->call == program->n_call;
}

static void piece_next(struct program *program, double us) {
  const struct call *call = &program->calls[program->slice.call];
  struct piece piece = {program, call, rows_next(program, call, us)};
  if (piece.rows.count > 0) {
    enum slice_kind kind = stage_kind(program, call);
    double work = row_work(program, call) * piece.rows.count;
    uint64_t start = clock_ns();
    team_run(program->device->team, piece_run, &piece);
    cost_note(&program->slice, kind, (double)(clock_ns() - start) * 1e-3 / work);
  }
  slice_move(program, call, piece.rows);
}

static bool slices_begin(struct program *program, const struct batch *batch, struct error *error) {
  struct piece first = {.program = program};
  if (!batch_check(batch, program->plan, &program->limits, error)) return false;
  program->batch = batch;
  program->n_collected = 0;
  program->slice.call = program->slice.row = 0;
  program->slice.stored = program->slice.whole = false;
  queries_cut(program);
  adapters_begin(program, false);
  team_run(program->device->team, piece_run, &first);
  return true;
}

bool cpu_advance(struct program *program, const struct batch *batch, double us, bool *done, struct error *error) {
  uint64_t start = clock_ns();
  if (!program->batch && !slices_begin(program, batch, error)) return false;
  for (double left = us; !program->slice.whole; left = us - (double)(clock_ns() - start) * 1e-3) {
    if (left <= 0) break;
    piece_next(program, left);
  }
  *done = program->slice.whole;
  return true;
}
