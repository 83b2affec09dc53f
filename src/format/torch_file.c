/* What PyTorch's own reader does with the two functions and the storages that a state dict names, and nothing else. */
#include "format/torch_file.h"

#include "base/checked.h"
#include "base/limits.h"
#include "format/pickle.h"
#include "format/zip_stored.h"

#include <inttypes.h>
#include <stdio.h>

enum { NAME_ORDERED_DICT, NAME_TENSOR, NAME_PARAMETER, NAME_STORAGE }; /* of a storage plus its tensor_type */

static const struct known_name {
  const char *module, *name;
  int64_t number;
} known_names[] = {
    {"collections", "OrderedDict", NAME_ORDERED_DICT},      {"torch._utils", "_rebuild_tensor_v2", NAME_TENSOR},
    {"torch._utils", "_rebuild_parameter", NAME_PARAMETER}, {"torch", "FloatStorage", NAME_STORAGE + TENSOR_F32},
    {"torch", "HalfStorage", NAME_STORAGE + TENSOR_F16},    {"torch", "BFloat16Storage", NAME_STORAGE + TENSOR_BF16},
    {"torch", "DoubleStorage", NAME_STORAGE + TENSOR_F64},  {"torch", "LongStorage", NAME_STORAGE + TENSOR_I64},
    {"torch", "IntStorage", NAME_STORAGE + TENSOR_I32},     {"torch", "ShortStorage", NAME_STORAGE + TENSOR_I16},
    {"torch", "CharStorage", NAME_STORAGE + TENSOR_I8},     {"torch", "ByteStorage", NAME_STORAGE + TENSOR_U8},
    {"torch", "BoolStorage", NAME_STORAGE + TENSOR_BOOL},
};

/* A tensor without its name, or a storage: one of all its elements. */
struct view {
  enum tensor_type type;
  bool storage;
  struct slice data;
  int n_dim;
  int64_t dim[LIMIT_TENSOR_DIMS];
};

struct reading {
  struct slice file, root; /* root: of the archive's names, "archive" */
  struct zip_stored zip;
  struct arena arena; /* of what is dropped when the table is made */
};

static bool memory_refuse(struct error *error) {
  return error_set(error, ERROR_MEMORY, "There is no memory for a list of tensors.");
}

static bool name_find(struct slice module, struct slice name, int64_t *number, struct error *error) {
  for (size_t i = 0; i < sizeof known_names / sizeof *known_names; i++) {
    if (!slice_is(module, known_names[i].module) || !slice_is(name, known_names[i].name)) continue;
    *number = known_names[i].number;
    return true;
  }
  char text[96]; /* the file's own words, for a terminal */
  int size = snprintf(text, sizeof text, "%.*s.%.*s", (int)(module.size < 40 ? module.size : 40),
                      (const char *)module.data, (int)(name.size < 40 ? name.size : 40), (const char *)name.data);
  for (int i = 0; i < size; i++)
    if (text[i] < ' ' || text[i] > '~') text[i] = '?';
  return error_set(error, ERROR_UNSUPPORTED,
                   "The pickle names %s, which is none of what a table of tensors needs: it is not run. Save the "
                   "model's state_dict, as safetensors if you can.",
                   text);
}

/* --- storages ----------------------------------------------------------------------------------------------------- */

static const struct zip_entry *entry_find(const struct reading *reading, const char *folder, struct slice name) {
  char text[512];
  int size = snprintf(text, sizeof text, "%.*s/%s%.*s", SLICE_ARGS(reading->root), folder, SLICE_ARGS(name));
  return size < (int)sizeof text ? zip_find(&reading->zip, slice_text(text)) : NULL;
}

/* Names of entries are numbers, or plain words; they are printed. */
static bool is_word(struct slice text) {
  for (size_t i = 0; i < text.size; i++) {
    uint8_t c = text.data[i];
    bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !(c >= '0' && c <= '9') && c != '_' && c != '-') return false;
  }
  return text.size > 0;
}

/* ("storage", its type, its entry's name, a device, how many elements) */
static bool storage_make(void *user, const struct pickle_value *id, struct pickle_value *out, struct error *error) {
  struct reading *reading = user;
  const struct pickle_value *item = id->kind == PICKLE_TUPLE ? id->tuple->item : NULL;
  if (!item || id->tuple->n != 5 || item[0].kind != PICKLE_TEXT || !slice_is(item[0].text, "storage") ||
      item[1].kind != PICKLE_GLOBAL || item[1].number < NAME_STORAGE || item[2].kind != PICKLE_TEXT ||
      !is_word(item[2].text) || item[4].kind != PICKLE_INT || item[4].number < 0)
    return error_set(error, ERROR_FORMAT, "The pickle refers to something that is no storage.");
  struct view *view = arena_alloc(&reading->arena, sizeof *view);
  if (!view) return memory_refuse(error);
  const struct zip_entry *entry = entry_find(reading, "data/", item[2].text);
  *view = (struct view){.type = (enum tensor_type)(item[1].number - NAME_STORAGE), .storage = true, .n_dim = 1};
  size_t bytes = 0;
  if (!entry)
    return error_set(error, ERROR_FORMAT, "The archive lacks the storage data/%.*s.", SLICE_ARGS(item[2].text));
  if (!tensor_type_bytes(view->type, (size_t)item[4].number, &bytes) || bytes != entry->data.size)
    return error_set(error, ERROR_FORMAT,
                     "The storage data/%.*s has %zu bytes, which are not the %" PRId64 " elements of type %s that it "
                     "should hold.",
                     SLICE_ARGS(item[2].text), entry->data.size, item[4].number, tensor_type_name(view->type));
  view->data = entry->data;
  view->dim[0] = item[4].number;
  *out = (struct pickle_value){.kind = PICKLE_OBJECT, .object = view};
  return true;
}

/* --- tensors ------------------------------------------------------------------------------------------------------ */

static bool shape_read(const struct pickle_tuple *size, struct view *view, struct error *error) {
  if (size->n > LIMIT_TENSOR_DIMS)
    return error_set(error, ERROR_LIMIT, "A tensor has %zu dimensions; at most %d are supported.", size->n,
                     LIMIT_TENSOR_DIMS);
  view->n_dim = (int)size->n;
  for (size_t i = 0; i < size->n; i++) {
    if (size->item[i].kind != PICKLE_INT || size->item[i].number < 0)
      return error_set(error, ERROR_FORMAT, "A tensor has a size that is no whole number from 0 up.");
    view->dim[i] = size->item[i].number;
  }
  return true;
}

/* The elements of a view, which must follow each other as they do in a file. */
static bool count_contiguous(const struct view *view, const struct pickle_tuple *stride, size_t *count,
                             struct error *error) {
  *count = 1;
  bool fits = true, plain = stride->n == (size_t)view->n_dim, empty = false;
  for (int i = view->n_dim; i-- > 0;) {
    int64_t step = plain && stride->item[i].kind == PICKLE_INT ? stride->item[i].number : -1;
    if (view->dim[i] == 0) empty = true;
    if (view->dim[i] > 1 && (step < 0 || (uint64_t)step != *count)) plain = false;
    fits = fits && size_mul(*count, (size_t)view->dim[i], count);
  }
  if (empty) *count = 0;
  if (empty || (fits && plain)) return true;
  return error_set(error, ERROR_UNSUPPORTED,
                   fits ? "A tensor's elements do not follow each other (it is transposed, say): save the model anew "
                          "with contiguous tensors, as safetensors if you can."
                        : "A tensor has more elements than memory has addresses.");
}

/* (storage, offset, size, stride, requires_grad, hooks), and maybe more. */
static bool tensor_make(struct reading *reading, const struct pickle_tuple *arguments, struct pickle_value *out,
                        struct error *error) {
  const struct pickle_value *item = arguments->item;
  const struct view *storage = arguments->n >= 4 && item[0].kind == PICKLE_OBJECT ? item[0].object : NULL;
  size_t count = 0, unit;
  if (!storage || !storage->storage || item[1].kind != PICKLE_INT || item[1].number < 0 ||
      item[2].kind != PICKLE_TUPLE || item[3].kind != PICKLE_TUPLE)
    return error_set(error, ERROR_FORMAT, "The pickle makes a tensor of something that is no storage.");
  struct view *view = arena_alloc(&reading->arena, sizeof *view);
  if (!view) return memory_refuse(error);
  *view = (struct view){.type = storage->type};
  if (!shape_read(item[2].tuple, view, error) || !count_contiguous(view, item[3].tuple, &count, error)) return false;
  if (!range_within((uint64_t)item[1].number, count, (uint64_t)storage->dim[0]))
    return error_set(error, ERROR_FORMAT,
                     "A tensor has %zu elements from element %" PRId64 " on of a storage of %" PRId64 ".", count,
                     item[1].number, storage->dim[0]);
  unit = tensor_type_info(view->type)->block_bytes;
  view->data = slice_make(storage->data.data + (size_t)item[1].number * unit, count * unit);
  *out = (struct pickle_value){.kind = PICKLE_OBJECT, .object = view};
  return true;
}

static bool name_call(void *user, int64_t name, const struct pickle_tuple *arguments, struct pickle_value *out,
                      struct error *error) {
  struct reading *reading = user;
  const struct pickle_value *first = arguments->n > 0 ? arguments->item : NULL;
  if (name == NAME_TENSOR) return tensor_make(reading, arguments, out, error);
  if (name == NAME_ORDERED_DICT && !first) return pickle_dict_new(&reading->arena, out) || memory_refuse(error);
  if (name == NAME_PARAMETER && first && first->kind == PICKLE_OBJECT) {
    *out = *first;
    return true;
  }
  return error_set(error, ERROR_FORMAT, "The pickle makes something other than dicts and tensors.");
}

/* --- the table ---------------------------------------------------------------------------------------------------- */

static bool tensor_name(const struct pickle_pair *pair, size_t index, struct tensor *tensor, struct arena *arena,
                        struct error *error) {
  char subject[32];
  snprintf(subject, sizeof subject, "tensor %zu", index);
  if (pair->key.kind != PICKLE_TEXT)
    return error_set(error, ERROR_FORMAT, "The name of %s is %s, expected a text.", subject,
                     pickle_kind_text(pair->key.kind));
  tensor->name = tensor_name_copy(pair->key.text, subject, arena, error);
  return tensor->name != NULL;
}

static bool tensor_fill(const struct reading *reading, const struct pickle_value *value, struct tensor *tensor,
                        struct error *error) {
  const struct view *view = value->kind == PICKLE_OBJECT ? value->object : NULL;
  size_t bytes = 0;
  if (!view || view->storage)
    return error_set(error, ERROR_UNSUPPORTED,
                     "\"%.200s\" is %s, where a tensor is expected: the file is no model's state_dict.", tensor->name,
                     view ? "a storage" : pickle_kind_text(value->kind));
  tensor->type = view->type;
  tensor->n_dim = view->n_dim;
  memcpy(tensor->dim, view->dim, sizeof view->dim);
  size_t at = (size_t)(view->data.data - reading->file.data), unit = tensor_type_info(view->type)->block_bytes;
  if (!tensor_measure(tensor, &bytes, error) || !tensor_place(tensor, reading->file, 0, at, bytes, error)) return false;
  return at % unit == 0 || error_set(error, ERROR_FORMAT,
                                     "Tensor \"%.200s\" begins at byte %zu, which is no multiple of %zu, the size of "
                                     "one %s; save the model again.",
                                     tensor->name, at, unit, tensor_type_name(view->type));
}

static bool table_fill(const struct reading *reading, const struct pickle_value *value, struct tensor_table *table,
                       struct arena *arena, struct error *error) {
  if (value->kind != PICKLE_DICT)
    return error_set(error, ERROR_UNSUPPORTED, "The file holds %s, expected a dict of tensors, a model's state_dict.",
                     pickle_kind_text(value->kind));
  const struct pickle_dict *dict = value->dict;
  if (dict->n > LIMIT_TENSOR_COUNT)
    return error_set(error, ERROR_LIMIT, "The file has %zu tensors; at most %d are supported.", dict->n,
                     LIMIT_TENSOR_COUNT);
  table->tensors = arena_array(arena, dict->n + 1, sizeof *table->tensors);
  if (!table->tensors) return memory_refuse(error);
  for (size_t i = 0; i < dict->n; i++) {
    struct tensor *tensor = &table->tensors[table->n_tensor++];
    if (!tensor_name(&dict->pair[i], i, tensor, arena, error) ||
        !tensor_fill(reading, &dict->pair[i].value, tensor, error))
      return false;
  }
  return tensor_table_index(table, arena, error);
}

/* --- the file ----------------------------------------------------------------------------------------------------- */

/* Before version 1.6 torch.save wrote pickles behind each other, and no archive. */
static bool kind_check(struct slice file, struct error *error) {
  if (slice_starts(file, "PK")) return true;
  if (file.size > 1 && file.data[0] == 0x80)
    return error_set(error, ERROR_UNSUPPORTED,
                     "The file is a bare pickle, as PyTorch wrote before version 1.6: load it there with "
                     "weights_only=True and save it again, as safetensors if you can.");
  return error_set(error, ERROR_FORMAT, "The file is no archive of PyTorch's, which begins with PK.");
}

/* The one entry called ROOT/data.pkl; a pickle of bytes in another order than this machine's is none. */
static bool pickle_find(struct reading *reading, struct slice *pickle, struct error *error) {
  static const char end[] = "/data.pkl";
  size_t size = sizeof end - 1;
  reading->root.data = NULL;
  for (int i = 0; i < reading->zip.n_entry && !reading->root.data; i++) {
    const struct zip_entry *entry = &reading->zip.entry[i];
    struct slice name = entry->name;
    if (name.size <= size || memcmp(name.data + name.size - size, end, size) != 0) continue;
    reading->root = slice_make(name.data, name.size - size);
    *pickle = entry->data;
  }
  if (!reading->root.data)
    return error_set(error, ERROR_FORMAT, "The archive has no data.pkl: torch.save did not write it.");
  const struct zip_entry *order = entry_find(reading, "", slice_text("byteorder"));
  if (order && !slice_is(order->data, "little"))
    return error_set(error, ERROR_UNSUPPORTED, "The numbers of the archive are not little-endian: save it again.");
  return pickle->size <= LIMIT_PICKLE_BYTES ||
         error_set(error, ERROR_LIMIT, "data.pkl has %zu bytes; at most %d are supported.", pickle->size,
                   LIMIT_PICKLE_BYTES);
}

bool torch_file_read(struct slice file, struct tensor_table *table, struct arena *arena, struct error *error) {
  struct reading reading = {.file = file};
  const struct pickle_rules rules = {name_find, name_call, storage_make, &reading};
  struct slice pickle = {0};
  struct pickle_value value = {0};
  arena_init(&reading.arena, LIMIT_MODEL_HEADER_MEMORY);
  bool good = kind_check(file, error) && zip_read(file, &reading.zip, &reading.arena, error) &&
              pickle_find(&reading, &pickle, error) &&
              (pickle_read(pickle, &rules, &reading.arena, &value, error) || error_prefix(error, "data.pkl: ")) &&
              table_fill(&reading, &value, table, arena, error);
  arena_release(&reading.arena);
  return good;
}
