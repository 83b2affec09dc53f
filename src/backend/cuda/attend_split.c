/* Work lists of attention. A unit is a chunk of packed rows of one KV head; its cost is the keys that it reads, and
 * something for its beginning and end. Shares are runs of equal cost through all units, cut between pieces, so that a
 * token's sums do not depend on what else is in the batch (flash-decoding: Dao et al., 2023, with pieces of one size).
 */
#include "backend/cuda/attend_split.h"

#include "plan/backend.h"

enum {
  UNIT_COST = 64,   /* keys that could be read while a unit begins and ends */
  SMALL_UNITS = 16, /* of which a share holds so many: they are not cut */
  SHORT_PIECES = 3, /* of units that are not cut where there are MANY_UNITS: joining takes as long as reading */
  MANY_UNITS = 40,  /* for 100 shares */
  NEAR_COSTS = 32,  /* costs that differ by such a part are taken as the same where units must be whole */
};

/* The units of a row of the batch. */
struct units {
  int64_t count, cost; /* of one */
  int32_t pieces;
};

static bool row_is_few(const struct attend_heads *heads, const struct cuda_row *row) {
  return (int64_t)row->count * heads->queries <= attend_few(heads);
}

static struct units units_of(const struct attend_heads *heads, const struct cuda_row *row) {
  int32_t end = row->length + row->count, begin = 0;
  if (!row_is_few(heads, row)) return (struct units){0};
  if (heads->window > 0 && row->length >= heads->window) begin = row->length - heads->window + 1;
  int32_t packed = attend_packed(heads), chunks = (row->count * heads->queries + packed - 1) / packed;
  return (struct units){.count = (int64_t)chunks * heads->n_kv_head,
                        .cost = end - begin + UNIT_COST,
                        .pieces = (end + ATTEND_PIECE - 1) / ATTEND_PIECE - begin / ATTEND_PIECE};
}

/* The boundary nearest to `rest` keys into the row; its piece may be the row's end. */
static void cut_place(const struct units *u, int64_t rest, bool whole, int n_kv_head, struct cuda_cut *cut) {
  int64_t unit = whole ? (rest + u->cost / 2) / u->cost : rest / u->cost;
  int64_t piece = whole ? 0 : ((rest - unit * u->cost) * u->pieces + u->cost / 2) / u->cost;
  if (piece == u->pieces) unit++, piece = 0;
  cut->chunk = (int32_t)(unit / n_kv_head);
  cut->head = (int32_t)(unit % n_kv_head);
  cut->piece = (int32_t)piece;
  if (unit == u->count) cut->row++, cut->chunk = cut->head = 0;
}

/* Rows without units are skipped: each place has one name. */
static void row_settle(const struct attend_heads *heads, const struct cuda_row *row, int n_row, struct cuda_cut *cut) {
  while (cut->row < n_row && !row_is_few(heads, row + cut->row)) cut->row++;
}

/* All units' costs, how many they are, and the cost of the dearest. */
struct work {
  int64_t cost, count, most;
};

static struct work work_of(const struct attend_heads *heads, const struct cuda_row *row, int n_row) {
  struct work w = {0};
  for (int r = 0; r < n_row; r++) {
    struct units u = units_of(heads, row + r);
    w.cost += u.count * u.cost, w.count += u.count;
    if (u.cost > w.most) w.most = u.cost;
  }
  return w;
}

static bool unit_whole(const struct units *u, const struct work *w, int n_share, int64_t least) {
  bool small = u->cost * SMALL_UNITS < w->cost / n_share;
  bool brief = u->pieces <= SHORT_PIECES && w->count * 100 >= (int64_t)n_share * MANY_UNITS;
  return small || brief || u->pieces == 1 || u->cost < least;
}

/* Units that cost less than `least` are whole. */
static void places_make(const struct attend_heads *heads, const struct cuda_row *row, int n_row, int n_share,
                        struct work work, int64_t least, struct cuda_cut *cut) {
  int64_t before = 0; /* cost of the rows before r */
  int r = 0;
  for (int i = 0; i < n_share; i++) {
    int64_t target = work.cost / n_share * i + work.cost % n_share * i / n_share;
    struct units u = units_of(heads, row + r);
    while (target >= before + u.count * u.cost) {
      before += u.count * u.cost;
      u = units_of(heads, row + ++r);
    }
    cut[i] = (struct cuda_cut){.row = r};
    cut_place(&u, target - before, unit_whole(&u, &work, n_share, least), heads->n_kv_head, cut + i);
    row_settle(heads, row, n_row, cut + i);
  }
  cut[n_share] = (struct cuda_cut){.row = n_row};
}

static bool same_unit(const struct cuda_cut *a, const struct cuda_cut *b) {
  return a->row == b->row && a->chunk == b->chunk && a->head == b->head;
}

/* Cuts within the same unit, from `first` on: who holds some of it, and its rows of parts. Returns the cut after. */
static int unit_join(int32_t part, int first, struct cuda_cut *cut) {
  int end = first, holders = 1;
  for (; same_unit(cut + end, cut + first); end++) holders += end == first || cut[end].piece != cut[end - 1].piece;
  for (int i = first; i < end; i++) cut[i].part = part, cut[i].owner = first - 1, cut[i].holders = holders;
  return end;
}

/* Rows of parts that the cut units need. */
static int64_t units_join(const struct attend_heads *heads, const struct cuda_row *row, int n_share,
                          struct cuda_cut *cut) {
  int64_t parts = 0;
  for (int i = 1; i < n_share;) {
    if (cut[i].piece == 0) {
      i++;
      continue;
    }
    const struct cuda_row *r = row + cut[i].row;
    int unit = attend_packed(heads), packed = r->count * heads->queries - cut[i].chunk * unit;
    int next = unit_join((int32_t)parts, i, cut);
    parts += (int64_t)units_of(heads, r).pieces * (packed < unit ? packed : unit);
    i = next;
  }
  return parts;
}

/* A unit that is whole takes no longer for its neighbours being cut: the cheapest ones give way, no more of them than
 * must, by halves of the costs between. */
bool attend_split(const struct attend_heads *heads, const struct cuda_row *row, int n_row, int n_share, int n_part,
                  struct cuda_cut *cut) {
  struct work work = work_of(heads, row, n_row);
  if (work.cost == 0) return false;
  places_make(heads, row, n_row, n_share, work, 0, cut);
  if (units_join(heads, row, n_share, cut) <= n_part) return true;
  int64_t low = 0, high = work.most + 1; /* too many parts, and not */
  while (high - low > 1 + high / NEAR_COSTS) {
    int64_t middle = low + (high - low) / 2;
    places_make(heads, row, n_row, n_share, work, middle, cut);
    *(units_join(heads, row, n_share, cut) > n_part ? &low : &high) = middle;
  }
  places_make(heads, row, n_row, n_share, work, high, cut);
  units_join(heads, row, n_share, cut);
  return true;
}

/* Units that are cut, one less than shares at most, have a row for each packed row and piece. */
int32_t attend_parts_most(const struct attend_heads *heads, const struct limits *limits) {
  int64_t packed = attend_packed(heads), few = attend_few(heads) / heads->queries, keys = limits->length;
  if (heads->window > 0 && heads->window + few < keys) keys = heads->window + few;
  int64_t pieces = keys / ATTEND_PIECE + 2;
  int64_t units = ((int64_t)limits->tokens * heads->queries / packed + limits->seats) * heads->n_kv_head;
  if (units > ATTEND_SHARES - 1) units = ATTEND_SHARES - 1;
  int64_t most = heads->latent ? (int64_t)LATENT_PIECES * heads->queries * heads->n_kv_head : ATTEND_PARTS;
  if (most < ATTEND_PARTS) most = ATTEND_PARTS;
  if (most > LATENT_PARTS) most = LATENT_PARTS;
  return (int32_t)(units * packed * pieces < most ? units * packed * pieces : most);
}

int attend_chunks(const struct attend_heads *heads, const struct cuda_row *row, int n_row, struct cuda_chunk *chunk) {
  int n = 0;
  for (int r = 0; r < n_row; r++) {
    if (row_is_few(heads, row + r)) continue;
    int chunk_rows = attend_chunk(heads), chunks = (row[r].count * heads->queries + chunk_rows - 1) / chunk_rows;
    for (int c = chunks - 1; c >= 0; c--) chunk[n++] = (struct cuda_chunk){r, c};
  }
  return n;
}
