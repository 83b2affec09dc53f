/* Opening and checking engine files. The header is checked first and completely; then every section that serving reads
 * is within the file, and the plan and the weight table agree with each other and with the target's layout. */
#include "engine/engine_file.h"

#include "backend/backends.h"
#include "base/checked.h"
#include "base/file_guard.h"
#include "base/limits.h"
#include "engine/engine_magic.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* These structs are the file's bytes (docs/engine-file.md): a change of theirs is a new format version. */
_Static_assert(sizeof(struct engine_section) == 32 && sizeof(struct engine_weight) == 32, "table entries");
_Static_assert(sizeof(struct engine_header) == 360 && sizeof(struct engine_facts) == 6648, "header and facts");

#define REBUILD "build it again with: spate build MODEL -o %s"

static const char *const section_names[SECTION_COUNT] = {
    [SECTION_FACTS] = "facts",
    [SECTION_PLAN] = "plan",
    [SECTION_WEIGHT_TABLE] = "weight table",
    [SECTION_TOKENIZER] = "tokenizer",
    [SECTION_TEMPLATE] = "chat template",
    [SECTION_IMAGES] = "images",
    [SECTION_WEIGHTS] = "weights",
    [SECTION_FOLDS] = "folds",
    [SECTION_MANIFEST] = "manifest",
};

const char *engine_section_name(int kind) { return section_names[kind]; }

/* Bytes before the weights, to a whole number of floats. */
static size_t head_bytes(const struct engine_header *header) {
  const struct engine_section *last = &header->section[SECTION_WEIGHTS - 1];
  return (last->offset + last->bytes + 15) / 16 * 16;
}

static struct slice section_slice(const struct engine_file *file, int kind) {
  const struct engine_section *section = &file->header->section[kind];
  if (kind == SECTION_FOLDS) return slice_make(file->head + head_bytes(file->header), section->bytes);
  const uint8_t *start = kind < SECTION_WEIGHTS ? file->head : file->file.data;
  return slice_make(start + section->offset, section->bytes);
}

/* Magic, version and checksum: whether the header says what it said when it was written. */
static bool header_check(const struct engine_file *file, const char *path, struct error *error) {
  size_t size = file->file.size;
  const struct engine_header *header = file->header;
  if (size < sizeof header->magic || memcmp(header->magic, engine_magic, sizeof header->magic) != 0)
    return error_set(error, ERROR_FORMAT, "%s is not an engine file; make one with: spate build MODEL -o FILE.", path);
  if (size < ENGINE_HEADER_BYTES)
    return error_set(error, ERROR_FORMAT, "%s is truncated: it has %zu bytes, less than its header of %d; " REBUILD ".",
                     path, size, ENGINE_HEADER_BYTES, path);
  if (header->version != ENGINE_FILE_VERSION)
    return error_set(error, ERROR_UNSUPPORTED, "%s has engine format %" PRIu32 " and this Spate reads %d; " REBUILD ".",
                     path, header->version, ENGINE_FILE_VERSION, path);
  struct hash128 hash = hash_bytes(slice_make(header, offsetof(struct engine_header, hash)), 0);
  if (!hash_equal(hash, header->hash))
    return error_set(error, ERROR_FORMAT, "%s is damaged: its header does not match its checksum; " REBUILD ".", path,
                     path);
  if (size != header->total)
    return error_set(error, ERROR_FORMAT,
                     "%s is %s: it has %zu bytes and should have %" PRIu64 "; copy it again, or " REBUILD ".", path,
                     size < header->total ? "truncated" : "too long", size, header->total, path);
  return true;
}

static bool target_check(struct engine_file *file, const char *path, struct error *error) {
  const struct engine_header *header = file->header;
  int kind;
  const struct target *target =
      memchr(header->target, '\0', sizeof header->target) ? target_find(header->target, &kind) : NULL;
  file->backend = target ? backend_find(target->name) : NULL;
  if (!file->backend)
    return error_set(error, ERROR_UNSUPPORTED,
                     "%s is packed for the target \"%.16s\", which this Spate does not have; " REBUILD ".", path,
                     header->target, path);
  if (header->layout != target->layout)
    return error_set(error, ERROR_UNSUPPORTED,
                     "%s is packed in layout %" PRIu32 " of %s and this Spate reads layout %" PRIu32 "; " REBUILD ".",
                     path, header->layout, target->name, target->layout, path);
  return true;
}

/* Sections follow each other in their order, aligned, within the file. */
static bool sections_check(const struct engine_file *file, const char *path, struct error *error) {
  uint64_t end = sizeof *file->header;
  for (int i = 0; i < SECTION_COUNT; i++) {
    const struct engine_section *section = &file->header->section[i];
    uint64_t align = i == SECTION_WEIGHTS ? ENGINE_WEIGHTS_ALIGN : ENGINE_SECTION_ALIGN;
    if (section->offset < end || section->offset % align ||
        !range_within(section->offset, section->bytes, file->file.size))
      return error_set(error, ERROR_FORMAT,
                       "%s is malformed: its section %s at %" PRIu64 ", of %" PRIu64
                       " bytes, is misaligned or outside its %zu bytes; " REBUILD ".",
                       path, section_names[i], section->offset, section->bytes, file->file.size, path);
    end = section->offset + section->bytes;
  }
  return true;
}

static bool head_copy(struct engine_file *file, const char *path, struct error *error) {
  const struct engine_section *folds = &file->header->section[SECTION_FOLDS];
  size_t size = head_bytes(file->header);
  if (folds->bytes > LIMIT_FOLD_BYTES)
    return error_set(error, ERROR_LIMIT, "%s has folds of %" PRIu64 " bytes; at most %d are read; " REBUILD ".", path,
                     folds->bytes, LIMIT_FOLD_BYTES, path);
  file->head = malloc(size + folds->bytes);
  if (!file->head)
    return error_set(error, ERROR_MEMORY, "%s: out of memory for its head of %zu bytes.", path,
                     size + (size_t)folds->bytes);
  memcpy(file->head, file->file.data, size);
  memcpy(file->head + size, file->file.data + folds->offset, folds->bytes);
  memcpy(file->head, file->header, sizeof *file->header);
  file->header = (const void *)file->head;
  return true;
}

/* All before the weights and the folds are hashed at once; the rest later, by engine_file_verify. */
static bool section_verify(const struct engine_file *file, int kind, struct error *error) {
  if (hash_equal(hash_bytes(section_slice(file, kind), 0), file->header->section[kind].hash)) return true;
  return error_set(error, ERROR_FORMAT, "is damaged: its section %s does not match its checksum", section_names[kind]);
}

static bool frame_valid(const struct text_frame *frame, int vocab) {
  const int32_t *lists[] = {frame->before, frame->middle, frame->after};
  for (int k = 0; k < 3; k++)
    for (int i = 0; i < FRAME_IDS; i++)
      if (lists[k][i] < -1 || lists[k][i] >= vocab) return false;
  return (frame->second_type | 1) == 1;
}

/* A second text's type, where there is one, has a row in the table of types. */
static bool types_fit(const struct plan *plan, const struct text_frame *two) {
  for (int i = 0; two->second_type > 0 && i < plan->n_op; i++) {
    const struct op *op = plan_ops(plan) + i;
    if (op->kind == OP_EMBED && op->args.embed.source == EMBED_POSITIONS && op->args.embed.axis == 1 &&
        plan_weights(plan)[op->weight[0]].rows <= two->second_type)
      return false;
  }
  return true;
}

/* How many of the texts there end. */
static int texts_ended(const char *texts, int size) {
  int ends = 0;
  for (int i = 0; i < size; i++) ends += texts[i] == '\0';
  return ends;
}

static bool prompts_valid(const struct engine_encoder *encoder) {
  return encoder->n_prompt >= 0 && encoder->n_prompt <= ENCODER_PROMPT_BYTES / 2 && encoder->usual_prompt >= 0 &&
         encoder->usual_prompt <= encoder->n_prompt &&
         texts_ended(encoder->prompts, ENCODER_PROMPT_BYTES) >= 2 * encoder->n_prompt;
}

/* A result has a number for each label, whose names are all there. */
static bool encoder_facts_valid(const struct engine_file *file) {
  const struct engine_encoder *encoder = &file->facts->encoder;
  bool encodes = file->plan->role == PLAN_ENCODER;
  if (encodes != (encoder->task != TASK_GENERATE) || encodes != (file->facts->config.encodes == 1) ||
      encoder->task > TASK_CLASSIFY || encoder->normalize > 1 || encoder->without_prompt > 1 || encoder->label_act > 2)
    return false;
  if (!frame_valid(&encoder->one, file->plan->vocab) || !frame_valid(&encoder->two, file->plan->vocab) ||
      !types_fit(file->plan, &encoder->two))
    return false;
  if (encoder->measure >= VECTOR_MEASURES || encoder->pair_form > 2 || !prompts_valid(encoder)) return false;
  if (encoder->task != TASK_CLASSIFY) return encoder->n_label == 0 && encoder->pair_form == 0;
  return encoder->n_label == plan_values(file->plan)[plan_result(file->plan)].cols &&
         texts_ended(encoder->labels, ENCODER_LABEL_BYTES) >= encoder->n_label;
}

static bool facts_check(const struct engine_file *file, struct error *error) {
  const struct engine_facts *facts = file->facts;
  if (!memchr(facts->name, '\0', sizeof facts->name) ||
      !memchr(facts->architecture, '\0', sizeof facts->architecture) ||
      !memchr(facts->gguf_architecture, '\0', sizeof facts->gguf_architecture) || facts->generation.n_end < 0 ||
      facts->generation.n_end > GENERATION_END_MAX)
    return error_set(error, ERROR_FORMAT, "is malformed: its section facts has a field out of range");
  if (!encoder_facts_valid(file))
    return error_set(error, ERROR_FORMAT, "is malformed: what it says of labels is out of range");
  struct engine_config complete = facts->config;
  if (engine_config_complete(&complete, file->plan->max_position, error) &&
      memcmp(&complete, &facts->config, sizeof complete) == 0)
    return true;
  return error_set(error, ERROR_FORMAT, "is malformed: its build configuration is incomplete or contradicts itself");
}

int engine_file_weights(const struct engine_file *file) {
  return file->plan->n_weight + (file->vision ? file->vision->n_weight : 0);
}

const struct weight *engine_file_weight_of(const struct engine_file *file, int weight, const char **name) {
  bool of_vision = file->vision && weight >= file->plan->n_weight;
  const struct plan *plan = of_vision ? file->vision : file->plan;
  const struct weight *of = plan_weights(plan) + (of_vision ? weight - file->plan->n_weight : weight);
  *name = plan_name(plan, of->name);
  return of;
}

/* Every weight lies in the weights section and has the size that the target's layout gives it. */
static bool weights_check(const struct engine_file *file, struct error *error) {
  uint64_t total = file->header->section[SECTION_WEIGHTS].bytes;
  for (int i = 0; i < engine_file_weights(file); i++) {
    const char *name;
    const struct engine_weight *entry = &file->weights[i];
    size_t expected = backend_packed_bytes(file->backend, engine_file_weight_of(file, i, &name));
    if (entry->bytes != expected || entry->offset % ENGINE_SECTION_ALIGN ||
        !range_within(entry->offset, entry->bytes, total))
      return error_set(error, ERROR_FORMAT,
                       "is malformed: the weight %s at %" PRIu64 " of the weights has %" PRIu64
                       " bytes (%zu expected), is misaligned or outside them",
                       name, entry->offset, entry->bytes, expected);
  }
  return true;
}

/* The block that begins at `at`, with the bytes that its head says it has; a head that is cut off is plan_check's. */
static struct slice plan_block(struct slice section, uint64_t at) {
  struct slice block = slice_make(section.data + at, section.size - at);
  if (block.size < sizeof(struct plan)) return block;
  uint64_t bytes = ((const struct plan *)(const void *)block.data)->bytes;
  return bytes < block.size ? slice_make(block.data, (size_t)bytes) : block;
}

static bool plans_read(struct engine_file *file, struct error *error) {
  struct slice section = section_slice(file, SECTION_PLAN), plan = plan_block(section, 0);
  if (!plan_check(plan, error)) return error_prefix(error, "is malformed: ");
  file->plan = (const void *)plan.data;
  if (file->plan->role == PLAN_VISION)
    return error_set(error, ERROR_FORMAT, "is malformed: its first plan is an encoder's of images");
  uint64_t at = engine_plan_align(plan.size);
  if (plan.size == section.size) return true;
  if (file->plan->role != PLAN_DECODER)
    return error_set(error, ERROR_FORMAT, "is malformed: a second plan follows one that is no decoder's");
  struct slice vision = at < section.size ? plan_block(section, at) : (struct slice){0};
  if (at + vision.size != section.size || vision.size == 0)
    return error_set(error, ERROR_FORMAT, "is malformed: its section plan has %zu bytes, which no two plans fill",
                     section.size);
  if (!plan_check(vision, error)) return error_prefix(error, "is malformed: ");
  file->vision = (const void *)vision.data;
  if (file->vision->role != PLAN_VISION)
    return error_set(error, ERROR_FORMAT, "is malformed: its second plan is no encoder's of images");
  return plan_vision_fits(file->plan, file->vision, error) || error_prefix(error, "is malformed: ");
}

static bool contents_check(struct engine_file *file, struct error *error) {
  struct slice facts = section_slice(file, SECTION_FACTS);
  struct slice table = section_slice(file, SECTION_WEIGHT_TABLE);
  for (int kind = 0; kind <= SECTION_FOLDS; kind++)
    if (kind != SECTION_WEIGHTS && !section_verify(file, kind, error)) return false;
  if (facts.size != sizeof *file->facts)
    return error_set(error, ERROR_FORMAT, "is malformed: its section facts has %zu bytes, expected %zu", facts.size,
                     sizeof *file->facts);
  if (!plans_read(file, error)) return false;
  file->facts = (const void *)facts.data;
  size_t n_weight = (size_t)engine_file_weights(file);
  if (table.size != n_weight * sizeof *file->weights)
    return error_set(error, ERROR_FORMAT, "is malformed: its weight table has %zu bytes, expected %zu for %zu weights",
                     table.size, n_weight * sizeof *file->weights, n_weight);
  file->weights = (const void *)table.data;
  file->folds = section_slice(file, SECTION_FOLDS);
  return facts_check(file, error) && weights_check(file, error) &&
         (engine_folds_check(file->folds, file->plan, error) || error_prefix(error, "is malformed: "));
}

/* Turns "is damaged: …" into a whole sentence with the path and the remedy. */
static bool sentence_complete(struct error *error, const char *path) {
  if (!error) return false;
  struct error cause = *error;
  size_t size = strlen(cause.text);
  if (size > 0 && cause.text[size - 1] == '.') cause.text[size - 1] = '\0';
  return error_set(error, cause.code, "%s %s; " REBUILD ".", path, cause.text, path);
}

static bool file_check(struct engine_file *file, const char *path, struct error *error) {
  struct engine_header header = {0}; /* as it is checked: the file may change meanwhile */
  if (file->file.size > 0)
    memcpy(&header, file->file.data, file->file.size < sizeof header ? file->file.size : sizeof header);
  file->header = &header;
  if (!header_check(file, path, error) || !target_check(file, path, error) || !sections_check(file, path, error) ||
      !head_copy(file, path, error))
    return false;
  if (!contents_check(file, error)) return sentence_complete(error, path);
  file->tokenizer = section_slice(file, SECTION_TOKENIZER);
  file->chat_template = section_slice(file, SECTION_TEMPLATE);
  file->images = section_slice(file, SECTION_IMAGES);
  file->manifest = section_slice(file, SECTION_MANIFEST);
  return true;
}

bool engine_file_open(struct engine_file *file, const char *path, struct error *error) {
  *file = (struct engine_file){0};
  if (!file_open(&file->file, path, error)) return false;
  file->path = strdup(path);
  if (!file->path)
    error_set(error, ERROR_MEMORY, "Out of memory for an engine file.");
  else if (!file_guard_add(&file->file))
    error_set(error, ERROR_LIMIT, "%s cannot be opened: too many engines are open in this process.", path);
  else if (file_check(file, path, error))
    return true;
  engine_file_close(file);
  return false;
}

void engine_file_close(struct engine_file *file) {
  file_guard_remove(&file->file);
  file_close(&file->file);
  free(file->head);
  free(file->path);
  *file = (struct engine_file){.file.descriptor = -1};
}

bool engine_file_detect(const char *path) {
  uint8_t start[sizeof engine_magic] = {0};
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return errno == EMFILE || errno == ENFILE || errno == ENOMEM; /* opening it will tell */
  ssize_t size = read(file, start, sizeof start);
  bool unread = size < 0 && errno == EIO;
  close(file);
  return unread || (size == sizeof start && memcmp(start, engine_magic, sizeof start) == 0);
}

struct slice engine_file_weight(const struct engine_file *file, int weight) {
  const struct engine_weight *entry = &file->weights[weight];
  return slice_make(section_slice(file, SECTION_WEIGHTS).data + entry->offset, entry->bytes);
}
