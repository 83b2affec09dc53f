/* One function for each kind of operation; the codes are those of Python's pickletools. */
#include "format/pickle.h"

#include "base/limits.h"

#include <stdlib.h>

struct machine {
  struct slice bytes;
  size_t at; /* the next byte */
  struct pickle_value *stack;
  size_t n_stack;
  struct pickle_value *memo;
  size_t n_memo, memo_room;
  const struct pickle_rules *rules;
  struct arena *arena;
  struct error *error;
};

static bool memory_refuse(struct machine *m) {
  return error_set(m->error, ERROR_MEMORY, "There is no memory for the values of a pickle.");
}

/* --- bytes -------------------------------------------------------------------------------------------------------- */

static bool bytes_take(struct machine *m, size_t size, struct slice *out) {
  if (size > m->bytes.size - m->at) return error_set(m->error, ERROR_FORMAT, "The pickle ends within an operation.");
  *out = slice_make(m->bytes.data + m->at, size);
  m->at += size;
  return true;
}

/* A number of 1 to 8 bytes, the lowest first. */
static bool number_take(struct machine *m, size_t size, uint64_t *out) {
  struct slice bytes = {0};
  if (!bytes_take(m, size, &bytes)) return false;
  *out = 0;
  for (size_t i = size; i > 0; i--) *out = *out << 8 | bytes.data[i - 1];
  return true;
}

static bool line_take(struct machine *m, struct slice *out) {
  const uint8_t *from = m->bytes.data + m->at, *end = memchr(from, '\n', m->bytes.size - m->at);
  if (!end) return error_set(m->error, ERROR_FORMAT, "The pickle ends within a name.");
  *out = slice_make(from, (size_t)(end - from));
  m->at += out->size + 1;
  return true;
}

/* --- the stack ---------------------------------------------------------------------------------------------------- */

static bool push(struct machine *m, struct pickle_value value) {
  if (m->n_stack == LIMIT_PICKLE_STACK)
    return error_set(m->error, ERROR_LIMIT, "The pickle puts more than %d values on its stack.", LIMIT_PICKLE_STACK);
  m->stack[m->n_stack++] = value;
  return true;
}

static bool push_number(struct machine *m, enum pickle_kind kind, int64_t number) {
  return push(m, (struct pickle_value){.kind = kind, .number = number});
}

/* The last `count` values, none of them a mark; they stay until n_stack is lowered. */
static struct pickle_value *top(struct machine *m, size_t count) {
  bool enough = m->n_stack >= count;
  for (size_t i = 0; enough && i < count; i++) enough = m->stack[m->n_stack - 1 - i].kind != PICKLE_MARK;
  if (enough) return m->stack + m->n_stack - count;
  error_set(m->error, ERROR_FORMAT, "The pickle's stack lacks a value.");
  return NULL;
}

/* Takes the last mark off, and tells how many values were above it: they begin at stack[n_stack] then. */
static bool mark_take(struct machine *m, size_t *count) {
  size_t at = m->n_stack;
  while (at > 0 && m->stack[at - 1].kind != PICKLE_MARK) at--;
  if (at == 0) return error_set(m->error, ERROR_FORMAT, "The pickle's stack lacks a mark.");
  *count = m->n_stack - at;
  m->n_stack = at - 1;
  return true;
}

/* Puts a tuple in place of what begins at `from`. */
static bool tuple_make(struct machine *m, const struct pickle_value *from, size_t count) {
  struct pickle_tuple *tuple = arena_alloc(m->arena, sizeof *tuple + count * sizeof *from);
  if (!tuple) return memory_refuse(m);
  tuple->n = count;
  memcpy(tuple->item, from, count * sizeof *from);
  return push(m, (struct pickle_value){.kind = PICKLE_TUPLE, .tuple = tuple});
}

static bool tuple_of(struct machine *m, size_t count) {
  const struct pickle_value *from = top(m, count);
  if (!from) return false;
  m->n_stack -= count;
  return tuple_make(m, from, count);
}

static bool tuple_marked(struct machine *m) {
  size_t count = 0;
  return mark_take(m, &count) && tuple_make(m, m->stack + m->n_stack + 1, count);
}

/* Keys and values by turns, which begin at `from`, into the dict below them. */
static bool items_set(struct machine *m, const struct pickle_value *from, size_t count) {
  const struct pickle_value *below = top(m, 1);
  if (!below) return false;
  if (below->kind != PICKLE_DICT || count % 2 != 0)
    return error_set(m->error, ERROR_FORMAT, "The pickle sets items of something that is no dict.");
  for (size_t i = 0; i < count; i += 2)
    if (!pickle_dict_add(m->arena, below->dict, from + i)) return memory_refuse(m);
  return true;
}

static bool item_set(struct machine *m) {
  const struct pickle_value *from = top(m, 2);
  if (!from) return false;
  m->n_stack -= 2;
  return items_set(m, from, 2);
}

static bool items_marked(struct machine *m) {
  size_t count = 0;
  return mark_take(m, &count) && items_set(m, m->stack + m->n_stack + 1, count);
}

static bool dict_push(struct machine *m) {
  struct pickle_value dict = {0};
  return pickle_dict_new(m->arena, &dict) ? push(m, dict) : memory_refuse(m);
}

/* Attributes of a dict, as state dicts have for the versions of their modules: nobody reads them. */
static bool build(struct machine *m) {
  const struct pickle_value *from = top(m, 2);
  if (!from) return false;
  if (from->kind != PICKLE_DICT)
    return error_set(m->error, ERROR_UNSUPPORTED, "The pickle sets the state of %s, which nothing here has.",
                     pickle_kind_text(from->kind));
  m->n_stack--;
  return true;
}

/* --- what is remembered ------------------------------------------------------------------------------------------- */

/* Python counts up: another number would be a table with holes. */
static bool memo_put(struct machine *m, size_t number_bytes) {
  uint64_t index = 0;
  const struct pickle_value *value = top(m, 1);
  if (!value || !number_take(m, number_bytes, &index)) return false;
  if (index > m->n_memo)
    return error_set(m->error, ERROR_FORMAT, "The pickle remembers value %llu after %zu others.",
                     (unsigned long long)index, m->n_memo);
  if (index == m->memo_room) {
    size_t room = m->memo_room ? 2 * m->memo_room : 256;
    struct pickle_value *memo = realloc(m->memo, room * sizeof *memo);
    if (!memo) return memory_refuse(m);
    memset(memo + m->memo_room, 0, (room - m->memo_room) * sizeof *memo);
    m->memo = memo;
    m->memo_room = room;
  }
  m->memo[index] = *value;
  if (index == m->n_memo) m->n_memo++;
  return true;
}

static bool memo_get(struct machine *m, size_t number_bytes) {
  uint64_t index = 0;
  if (!number_take(m, number_bytes, &index)) return false;
  if (index < m->n_memo) return push(m, m->memo[index]);
  return error_set(m->error, ERROR_FORMAT, "The pickle asks for value %llu of %zu that it remembers.",
                   (unsigned long long)index, m->n_memo);
}

/* --- names, calls, numbers and texts ------------------------------------------------------------------------------ */

static bool global_push(struct machine *m) {
  struct slice module = {0}, name = {0};
  int64_t number = 0;
  return line_take(m, &module) && line_take(m, &name) && m->rules->global(module, name, &number, m->error) &&
         push_number(m, PICKLE_GLOBAL, number);
}

static bool reduce(struct machine *m) {
  struct pickle_value out = {0};
  const struct pickle_value *from = top(m, 2);
  if (!from) return false;
  if (from[0].kind != PICKLE_GLOBAL || from[1].kind != PICKLE_TUPLE)
    return error_set(m->error, ERROR_FORMAT, "The pickle calls %s with %s.", pickle_kind_text(from[0].kind),
                     pickle_kind_text(from[1].kind));
  m->n_stack -= 2;
  return m->rules->call(m->rules->user, from[0].number, from[1].tuple, &out, m->error) && push(m, out);
}

static bool persistent_push(struct machine *m) {
  struct pickle_value out = {0};
  const struct pickle_value *id = top(m, 1);
  if (!id) return false;
  m->n_stack--;
  return m->rules->persistent(m->rules->user, id, &out, m->error) && push(m, out);
}

static bool int_push(struct machine *m, size_t size) {
  uint64_t number = 0;
  return number_take(m, size, &number) &&
         push_number(m, PICKLE_INT, size == 4 ? (int64_t)(int32_t)(uint32_t)number : (int64_t)number);
}

/* A long of up to 8 bytes, whose highest bit is its sign. */
static bool long_push(struct machine *m) {
  uint64_t size = 0, number = 0;
  if (!number_take(m, 1, &size)) return false;
  if (size > 8) return error_set(m->error, ERROR_FORMAT, "The pickle has a number of %d bytes.", (int)size);
  if (!number_take(m, (size_t)size, &number)) return false;
  unsigned unused = 64 - 8 * (unsigned)size;
  return push_number(m, PICKLE_INT, size == 0 ? 0 : (int64_t)(number << unused) >> unused);
}

static bool text_push(struct machine *m) {
  uint64_t size = 0;
  struct pickle_value text = {.kind = PICKLE_TEXT};
  return number_take(m, 4, &size) && bytes_take(m, (size_t)size, &text.text) && push(m, text);
}

static bool protocol_check(struct machine *m) {
  uint64_t protocol = 0;
  if (!number_take(m, 1, &protocol)) return false;
  return protocol == 2 ||
         error_set(m->error, ERROR_UNSUPPORTED,
                   "The pickle is of protocol %d, expected 2, which torch.save writes by itself.", (int)protocol);
}

/* --- all ---------------------------------------------------------------------------------------------------------- */

/* Those that put a plain value on the stack. */
static bool plain_push(struct machine *m, uint8_t code) {
  switch (code) {
  case 'N': return push_number(m, PICKLE_NONE, 0);
  case 0x88: return push_number(m, PICKLE_BOOL, 1);
  case 0x89: return push_number(m, PICKLE_BOOL, 0);
  case 'K': return int_push(m, 1);
  case 'M': return int_push(m, 2);
  case 'J': return int_push(m, 4);
  case 0x8a: return long_push(m);
  case 'X': return text_push(m);
  case '(': return push_number(m, PICKLE_MARK, 0);
  case '}': return dict_push(m);
  default:
    return error_set(m->error, ERROR_UNSUPPORTED,
                     "The pickle has the operation 0x%02x, which tables of tensors do not need.", code);
  }
}

static bool operate(struct machine *m, uint8_t code) {
  switch (code) {
  case 0x80: return protocol_check(m);
  case ')': return tuple_of(m, 0);
  case 0x85:
  case 0x86:
  case 0x87: return tuple_of(m, code - 0x84u);
  case 't': return tuple_marked(m);
  case 's': return item_set(m);
  case 'u': return items_marked(m);
  case 'b': return build(m);
  case 'q': return memo_put(m, 1);
  case 'r': return memo_put(m, 4);
  case 'h': return memo_get(m, 1);
  case 'j': return memo_get(m, 4);
  case 'c': return global_push(m);
  case 'R': return reduce(m);
  case 'Q': return persistent_push(m);
  default: return plain_push(m, code);
  }
}

static bool run(struct machine *m, struct pickle_value *out) {
  for (;;) {
    size_t at = m->at;
    if (at == m->bytes.size) return error_set(m->error, ERROR_FORMAT, "The pickle has no end.");
    uint8_t code = m->bytes.data[m->at++];
    if (code == '.') break;
    if (!operate(m, code)) return error_prefix(m->error, "Byte %zu: ", at);
  }
  const struct pickle_value *value = top(m, 1);
  if (value) *out = *value;
  return value != NULL;
}

bool pickle_read(struct slice bytes, const struct pickle_rules *rules, struct arena *arena, struct pickle_value *out,
                 struct error *error) {
  struct machine m = {.bytes = bytes, .rules = rules, .arena = arena, .error = error};
  m.stack = calloc(LIMIT_PICKLE_STACK + 1, sizeof *m.stack);
  bool good = m.stack ? run(&m, out) : memory_refuse(&m);
  free(m.stack);
  free(m.memo);
  return good;
}
