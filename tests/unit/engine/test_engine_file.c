/* The engine file: written, opened, verified; damaged in every part, refused with the right sentence; killed while
 * being written. */
#include "engine_fixture.h"

#include "base/json.h"

#include <signal.h>
#include <sys/wait.h>

static int setup(void **state) {
  struct engine_fixture *f = calloc(1, sizeof *f);
  fixture_init(f);
  fixture_write(f);
  *state = f;
  return 0;
}

static int teardown(void **state) {
  fixture_release(*state);
  free(*state);
  return 0;
}

static void test_round_trip(void **state) {
  struct engine_fixture *f = *state;
  struct engine_file file;
  struct error error;
  if (!engine_file_open(&file, f->path, &error)) fail_msg("%s", error.text);
  assert_true(engine_file_detect(f->path));
  assert_memory_equal(file.facts, &f->facts, sizeof f->facts);
  assert_memory_equal(file.plan, f->plan.data, f->plan.size);
  assert_true(slice_is(file.tokenizer, fixture_tokenizer));
  assert_true(slice_is(file.chat_template, fixture_template));
  assert_true(slice_is(file.manifest, fixture_manifest));
  assert_int_equal(file.folds.size, sizeof fixture_folds);
  assert_true(hash_equal(file.header->base, fixture_base) && !engine_file_fold(&file, 0).column);
  assert_ptr_equal(file.backend, &backend_cpu);
  for (int w = 0; w < file.plan->n_weight; w++) {
    struct slice bytes = engine_file_weight(&file, w);
    assert_int_equal((uintptr_t)bytes.data % 64, 0);
    assert_int_equal(bytes.size, backend_packed_bytes(&backend_cpu, &plan_weights(file.plan)[w]));
    for (size_t i = 0; i < bytes.size; i++) assert_int_equal(bytes.data[i], (uint8_t)(7 * w + (int)i));
  }
  /* Matrices come before vectors, whatever the plan's numbering. */
  assert_true(file.weights[1].offset < file.weights[0].offset);
  assert_int_equal(file.header->section[SECTION_WEIGHTS].offset % ENGINE_WEIGHTS_ALIGN, 0);
  struct engine_verify verify = {0};
  assert_true(engine_file_verify(&file, &verify, &error));
  assert_true(engine_file_intact(&file, &error));
  engine_file_close(&file);
}

/* --- damage ------------------------------------------------------------------------------------------------------ */

struct image {
  uint8_t *bytes;
  size_t size;
};

static struct engine_header *header_of(struct image *image) { return (struct engine_header *)(void *)image->bytes; }

static void *section_of(struct image *image, int kind) { return image->bytes + header_of(image)->section[kind].offset; }

/* Makes the checksums right again after a change, so that what lies behind them is reached. */
static void seal(struct image *image, int kind) {
  struct engine_header *header = header_of(image);
  struct engine_section *section = &header->section[kind];
  section->hash = hash_bytes(slice_make(image->bytes + section->offset, section->bytes), 0);
  header->hash = hash_bytes(slice_make(header, offsetof(struct engine_header, hash)), 0);
}

static void seal_header(struct image *image) { seal(image, SECTION_FACTS); }

static void magic(struct image *image) { image->bytes[0] = 'G'; }
static void empty(struct image *image) { image->size = 0; }
static void header_cut(struct image *image) { image->size = 100; }
static void version(struct image *image) { header_of(image)->version = 99; }
static void header_flip(struct image *image) { header_of(image)->section[2].bytes ^= 1; }
static void cut(struct image *image) { image->size -= 1; }
static void cut_weights(struct image *image) { image->size = ENGINE_WEIGHTS_ALIGN; }
static void longer(struct image *image) { image->bytes[image->size++] = 0; }

static void target(struct image *image) {
  strcpy(header_of(image)->target, "abacus");
  seal_header(image);
}
static void target_unterminated(struct image *image) {
  memset(header_of(image)->target, 'x', sizeof header_of(image)->target);
  seal_header(image);
}
static void layout(struct image *image) {
  header_of(image)->layout = 77;
  seal_header(image);
}
static void section_misaligned(struct image *image) {
  header_of(image)->section[SECTION_TOKENIZER].offset += 8;
  seal_header(image);
}
static void section_outside(struct image *image) {
  header_of(image)->section[SECTION_TOKENIZER].bytes = UINT64_MAX;
  seal_header(image);
}
static void section_overlap(struct image *image) {
  header_of(image)->section[SECTION_TEMPLATE].offset = header_of(image)->section[SECTION_TOKENIZER].offset;
  seal_header(image);
}
static void plan_flip(struct image *image) { ((uint8_t *)section_of(image, SECTION_PLAN))[50] ^= 1; }
static void tokenizer_flip(struct image *image) { ((uint8_t *)section_of(image, SECTION_TOKENIZER))[0] ^= 1; }
static void template_flip(struct image *image) { ((uint8_t *)section_of(image, SECTION_TEMPLATE))[0] ^= 1; }
static void plan_wrong(struct image *image) {
  ((struct plan *)section_of(image, SECTION_PLAN))->vocab = 0;
  seal(image, SECTION_PLAN);
}
static void facts_short(struct image *image) {
  header_of(image)->section[SECTION_FACTS].bytes -= 4;
  seal(image, SECTION_FACTS);
}
static void facts_name(struct image *image) {
  struct engine_facts *facts = section_of(image, SECTION_FACTS);
  memset(facts->name, 'n', sizeof facts->name);
  seal(image, SECTION_FACTS);
}
static void facts_config(struct image *image) {
  struct engine_facts *facts = section_of(image, SECTION_FACTS);
  facts->config.max_seq_len = FIXTURE_POSITIONS + 1;
  seal(image, SECTION_FACTS);
}
static void facts_default(struct image *image) {
  struct engine_facts *facts = section_of(image, SECTION_FACTS);
  facts->config.opt_batch_size = 0;
  seal(image, SECTION_FACTS);
}
static void table_short(struct image *image) {
  header_of(image)->section[SECTION_WEIGHT_TABLE].bytes -= 1;
  seal(image, SECTION_WEIGHT_TABLE);
}
static void weight_size(struct image *image) {
  struct engine_weight *table = section_of(image, SECTION_WEIGHT_TABLE);
  table[0].bytes = 4;
  seal(image, SECTION_WEIGHT_TABLE);
}
static void weight_outside(struct image *image) {
  struct engine_weight *table = section_of(image, SECTION_WEIGHT_TABLE);
  table[0].offset = 1 << 20;
  seal(image, SECTION_WEIGHT_TABLE);
}

static void folds_flip(struct image *image) { ((uint8_t *)section_of(image, SECTION_FOLDS))[3] ^= 1; }
static void folds_bad(struct image *image) {
  header_of(image)->section[SECTION_FOLDS].bytes = 12;
  seal(image, SECTION_FOLDS);
}

#define AGAIN "; build it again with: spate build MODEL -o FILE."

/* FILE stands for the path. */
static const struct damage {
  void (*make)(struct image *image);
  const char *sentence;
} damages[] = {
    {magic, "FILE is not an engine file; make one with: spate build MODEL -o FILE."},
    {empty, "FILE is not an engine file; make one with: spate build MODEL -o FILE."},
    {header_cut, "FILE is truncated: it has 100 bytes, less than its header of 4096" AGAIN},
    {version, "FILE has engine format 99 and this Spate reads 11" AGAIN},
    {header_flip, "FILE is damaged: its header does not match its checksum" AGAIN},
    {cut,
     "FILE is truncated: it has 2113537 bytes and should have 2113538; copy it again, or build it again with: spate "
     "build MODEL -o FILE."},
    {cut_weights, "FILE is truncated: it has 2097152 bytes and should have 2113538; copy it again, or build it again "
                  "with: spate build MODEL -o FILE."},
    {longer, "FILE is too long: it has 2113539 bytes and should have 2113538; copy it again, or build it again with: "
             "spate build MODEL -o FILE."},
    {target, "FILE is packed for the target \"abacus\", which this Spate does not have" AGAIN},
    {target_unterminated, "FILE is packed for the target \"xxxxxxxxxxxxxxxx\", which this Spate does not have" AGAIN},
    {layout, "FILE is packed in layout 77 of cpu and this Spate reads layout 1" AGAIN},
    {section_misaligned, "FILE is malformed: its section tokenizer at 20488, of 6 bytes, is misaligned or outside its "
                         "2113538 bytes" AGAIN},
    {section_outside,
     "FILE is malformed: its section tokenizer at 20480, of 18446744073709551615 bytes, is misaligned or "
     "outside its 2113538 bytes" AGAIN},
    {section_overlap,
     "FILE is malformed: its section chat template at 20480, of 12 bytes, is misaligned or outside its "
     "2113538 bytes" AGAIN},
    {plan_flip, "FILE is damaged: its section plan does not match its checksum" AGAIN},
    {tokenizer_flip, "FILE is damaged: its section tokenizer does not match its checksum" AGAIN},
    {template_flip, "FILE is damaged: its section chat template does not match its checksum" AGAIN},
    {plan_wrong, "FILE is malformed: The plan has vocabulary 0, width 32, positions 100: out of range" AGAIN},
    {facts_short, "FILE is malformed: its section facts has 6644 bytes, expected 6648" AGAIN},
    {facts_name, "FILE is malformed: its section facts has a field out of range" AGAIN},
    {facts_config, "FILE is malformed: its build configuration is incomplete or contradicts itself" AGAIN},
    {facts_default, "FILE is malformed: its build configuration is incomplete or contradicts itself" AGAIN},
    {table_short, "FILE is malformed: its weight table has 63 bytes, expected 64 for 2 weights" AGAIN},
    {weight_size, "FILE is malformed: the weight norm.weight at 8192 of the weights has 4 bytes (128 expected), is "
                  "misaligned or outside them" AGAIN},
    {folds_flip, "FILE is damaged: its section folds does not match its checksum" AGAIN},
    {folds_bad, "FILE is malformed: The folds have 12 bytes; 2 weights take 64" AGAIN},
    {weight_outside,
     "FILE is malformed: the weight norm.weight at 1048576 of the weights has 128 bytes (128 expected), is "
     "misaligned or outside them" AGAIN},
};

static struct image image_read(const char *path) {
  struct image image = {0};
  FILE *stream = fopen(path, "rb");
  assert_non_null(stream);
  fseek(stream, 0, SEEK_END);
  image.size = (size_t)ftell(stream);
  rewind(stream);
  image.bytes = calloc(1, image.size + 1);
  assert_int_equal(fread(image.bytes, 1, image.size, stream), image.size);
  fclose(stream);
  return image;
}

static void image_write(const char *path, const struct image *image) {
  FILE *stream = fopen(path, "wb");
  assert_non_null(stream);
  assert_int_equal(fwrite(image->bytes, 1, image->size, stream), image->size);
  fclose(stream);
}

/* The sentence with its first FILE and those at its end put in place. */
static void sentence_fill(const char *sentence, const char *path, bool remedy, char *out, size_t size) {
  size_t used = (size_t)snprintf(out, size, "%s", path);
  sentence += strlen("FILE");
  const char *last = remedy ? strstr(sentence, "FILE") : NULL;
  if (last)
    snprintf(out + used, size - used, "%.*s%s%s", (int)(last - sentence), sentence, path, last + strlen("FILE"));
  else
    snprintf(out + used, size - used, "%s", sentence);
}

static void test_damage(void **state) {
  struct engine_fixture *f = *state;
  for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
    struct image image = image_read(f->path), kept = image;
    kept.bytes = malloc(image.size);
    memcpy(kept.bytes, image.bytes, image.size);
    damages[i].make(&image);
    image_write(f->path, &image);
    struct engine_file file;
    struct error error = {0};
    char expected[ERROR_TEXT_MAX];
    sentence_fill(damages[i].sentence, f->path, i >= 2, expected, sizeof expected);
    bool opened = engine_file_open(&file, f->path, &error);
    image_write(f->path, &kept);
    free(image.bytes);
    free(kept.bytes);
    assert_false(opened);
    assert_string_equal(error.text, expected);
  }
}

/* What opening does not look at is found by hashing. */
static const struct {
  int section;
  const char *part;
} hidden[] = {
    {SECTION_MANIFEST, "its section manifest"},
    {SECTION_WEIGHTS, "the weight embed"},
};

static void test_verify(void **state) {
  struct engine_fixture *f = *state;
  for (size_t i = 0; i < sizeof hidden / sizeof *hidden; i++) {
    struct image image = image_read(f->path);
    uint8_t *byte = section_of(&image, hidden[i].section);
    *byte ^= 0x40;
    image_write(f->path, &image);
    struct engine_file file;
    struct error error = {0};
    assert_true(engine_file_open(&file, f->path, &error));
    struct engine_verify verify = {0};
    assert_false(engine_file_verify(&file, &verify, &error));
    char expected[ERROR_TEXT_MAX];
    snprintf(expected, sizeof expected,
             "%s is damaged: %s does not match its checksum; copy it again, or build it again with: "
             "spate build MODEL -o %s.",
             f->path, hidden[i].part, f->path);
    assert_string_equal(error.text, expected);
    verify.stop = true;
    engine_file_verify(&file, &verify, &error); /* returns early; what it returns then means nothing */
    engine_file_close(&file);
    *byte ^= 0x40;
    image_write(f->path, &image);
    free(image.bytes);
  }
}

/* A damaged file that its owner can build again is removed, but not what has been put in its place meanwhile. */
static void disposable_verify(struct engine_fixture *f, bool replaced) {
  struct image image = image_read(f->path);
  ((uint8_t *)section_of(&image, SECTION_WEIGHTS))[0] ^= 1;
  image_write(f->path, &image);
  free(image.bytes);
  struct engine_file file;
  struct engine_verify verify = {0};
  struct error error = {0};
  char expected[ERROR_TEXT_MAX];
  assert_true(engine_file_open(&file, f->path, &error));
  file.disposable = true;
  if (replaced) fixture_write(f);
  assert_false(engine_file_verify(&file, &verify, &error));
  snprintf(expected, sizeof expected,
           "%s is damaged: the weight embed does not match its checksum. It was built into the cache and has been "
           "removed: start again to build it anew.",
           f->path);
  assert_string_equal(error.text, expected);
  assert_int_equal(access(f->path, F_OK), replaced ? 0 : -1);
  engine_file_close(&file);
}

static void test_disposable(void **state) {
  disposable_verify(*state, true);
  disposable_verify(*state, false);
  fixture_write(*state);
}

static void test_shrunk(void **state) {
  struct engine_fixture *f = *state;
  struct engine_file file;
  struct error error = {0};
  assert_true(engine_file_open(&file, f->path, &error));
  assert_int_equal(truncate(f->path, 0), 0);
  assert_true(slice_equal(file.tokenizer, slice_text(fixture_tokenizer))); /* a copy: no page of it is gone */
  assert_false(engine_file_intact(&file, &error));
  assert_string_equal(error.text, "The engine file of Tiny changed its size while it was being served: the engine "
                                  "stops. Build it again, and replace engine files by renaming a new one over them.");
  struct engine_verify verify = {0};
  assert_false(engine_file_verify(&file, &verify, &error)); /* and touches no page that is gone */
  engine_file_close(&file);
}

/* --- writing ----------------------------------------------------------------------------------------------------- */

/* Two builds of one output at once: each is whole, and the last to end stays. */
static void test_second_writer(void **state) {
  struct engine_fixture *f = *state;
  struct engine_writer first, second;
  struct engine_file file;
  struct error error = {0};
  assert_true(fixture_fill(f, &first, &error));
  assert_true(fixture_fill(f, &second, &error));
  assert_true(engine_writer_commit(&first, &(struct engine_ending){.manifest = slice_text("{\"first\":1}")}, &error));
  assert_true(engine_writer_commit(&second, &(struct engine_ending){.manifest = slice_text("{}")}, &error));
  engine_writer_release(&first);
  engine_writer_release(&second);
  assert_true(engine_file_open(&file, f->path, &error));
  assert_true(slice_is(file.manifest, "{}"));
  engine_file_close(&file);
}

/* A writer that dies leaves the old file as it was, and nothing else in the folder: teardown would find it. */
static void test_killed_writer(void **state) {
  struct engine_fixture *f = *state;
  struct image before = image_read(f->path);
  pid_t child = fork();
  if (child == 0) {
    struct engine_writer writer;
    struct error error;
    fixture_fill(f, &writer, &error);
    raise(SIGKILL);
  }
  int status;
  waitpid(child, &status, 0);
  assert_true(WIFSIGNALED(status));
  struct image after = image_read(f->path);
  assert_int_equal(after.size, before.size);
  assert_memory_equal(after.bytes, before.bytes, before.size);
  free(before.bytes);
  free(after.bytes);
}

/* A writer that fails or is cancelled removes what it wrote. */
static void test_abandoned_writer(void **state) {
  struct engine_fixture *f = *state;
  struct engine_writer writer;
  struct error error;
  assert_true(fixture_fill(f, &writer, &error));
  engine_writer_release(&writer);
}

static void test_missing_folder(void **state) {
  (void)state;
  struct engine_fixture f;
  struct engine_writer writer;
  struct error error;
  fixture_init(&f);
  rmdir(f.folder);
  char expected[ERROR_TEXT_MAX];
  assert_false(fixture_fill(&f, &writer, &error));
  snprintf(expected, sizeof expected, "%s cannot be created: No such file or directory.", f.path);
  assert_string_equal(error.text, expected);
  engine_writer_release(&writer);
  buffer_release(&f.plan);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test_setup_teardown(test_round_trip, setup, teardown),
      cmocka_unit_test_setup_teardown(test_damage, setup, teardown),
      cmocka_unit_test_setup_teardown(test_verify, setup, teardown),
      cmocka_unit_test_setup_teardown(test_disposable, setup, teardown),
      cmocka_unit_test_setup_teardown(test_shrunk, setup, teardown),
      cmocka_unit_test_setup_teardown(test_second_writer, setup, teardown),
      cmocka_unit_test_setup_teardown(test_killed_writer, setup, teardown),
      cmocka_unit_test_setup_teardown(test_abandoned_writer, setup, teardown),
      cmocka_unit_test(test_missing_folder),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
