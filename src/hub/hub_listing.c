/* Pages of a repository's tree: [{"type": "file", "path": …, "oid": …, "size": …, "lfs": {"oid": …, "size": …}}, …]. */
#include "hub/hub_listing.h"

#include "base/json.h"
#include "base/limits.h"
#include "hub/hub_id.h"

#include <stdlib.h>

void hub_listing_init(struct hub_listing *listing) {
  *listing = (struct hub_listing){0};
  arena_init(&listing->arena, LIMIT_HUB_NAMES_BYTES);
}

void hub_listing_release(struct hub_listing *listing) {
  free(listing->files);
  arena_release(&listing->arena);
}

static bool segment_is_sound(struct slice segment) {
  return segment.size > 0 && segment.size <= 255 && !slice_is(segment, ".") && !slice_is(segment, "..");
}

/* Also those of ISO 6429 that UTF-8 writes in two bytes: U+009B begins what a terminal obeys. */
static bool is_control(struct slice text, size_t at) {
  uint8_t byte = text.data[at], next = at + 1 < text.size ? text.data[at + 1] : 0;
  return byte < ' ' || byte == 0x7f || (byte == 0xc2 && next >= 0x80 && next < 0xa0);
}

bool hub_name_is_sound(struct slice name) {
  if (name.size > LIMIT_HUB_NAME_BYTES) return false;
  size_t begin = 0;
  for (size_t i = 0; i < name.size; i++) {
    if (is_control(name, i) || name.data[i] == '\\') return false;
    if (name.data[i] != '/') continue;
    if (!segment_is_sound(slice_make(name.data + begin, i - begin))) return false;
    begin = i + 1;
  }
  return segment_is_sound(slice_make(name.data + begin, name.size - begin));
}

static bool malformed(struct error *error) {
  return error_set(error, ERROR_FORMAT,
                   "The hub's list of files is not what a hub sends: look at HF_ENDPOINT, or try again later.");
}

static bool digest_copy(char out[HUB_DIGEST_BYTES], const json_t *value, size_t digits) {
  const char *text = json_string_value(value);
  if (!text || strlen(text) != digits || strspn(text, "0123456789abcdef") != digits) return false;
  memcpy(out, text, digits + 1);
  return true;
}

/* A large file has its own digest and size beside those of the pointer that git keeps. */
static bool facts_read(struct hub_file *file, const json_t *entry) {
  const json_t *lfs = json_object_get(entry, "lfs"), *of = json_is_object(lfs) ? lfs : entry;
  const json_t *size = json_object_get(of, "size");
  if (!json_is_integer(size) || json_integer_value(size) < 0) return false;
  file->size = (uint64_t)json_integer_value(size);
  return file->size <= LIMIT_HUB_FILE_BYTES &&
         digest_copy(file->digest, json_object_get(of, "oid"), of == lfs ? 64 : 40);
}

static struct hub_file *file_add(struct hub_listing *listing) {
  if (listing->n == listing->room) {
    int room = listing->room ? 2 * listing->room : 64;
    struct hub_file *files = realloc(listing->files, (size_t)room * sizeof *files);
    if (!files) return NULL;
    listing->files = files;
    listing->room = room;
  }
  listing->files[listing->n] = (struct hub_file){0};
  return &listing->files[listing->n++];
}

bool hub_listing_put(struct hub_listing *listing, struct slice name, uint64_t size, struct error *error) {
  if (listing->n == LIMIT_HUB_FILES)
    return error_set(error, ERROR_LIMIT, "The repository has more than %d files.", LIMIT_HUB_FILES);
  struct hub_file *file = file_add(listing);
  if (file) file->name = arena_text(&listing->arena, name);
  if (!file || !file->name) return error_set(error, ERROR_MEMORY, "There is no memory for a list of files.");
  file->size = size;
  return true;
}

static bool entry_read(struct hub_listing *listing, const json_t *entry, struct error *error) {
  const char *type = json_string_value(json_object_get(entry, "type"));
  const json_t *path = json_object_get(entry, "path");
  if (!type || !json_is_string(path)) return malformed(error);
  if (strcmp(type, "file") != 0) return true;
  if (!hub_name_is_sound(json_slice(path)))
    return error_set(error, ERROR_FORMAT,
                     "The hub lists a file whose name would lead out of the model's folder, or is none: nothing was "
                     "fetched from this repository.");
  return hub_listing_put(listing, json_slice(path), 0, error) &&
         (facts_read(&listing->files[listing->n - 1], entry) || malformed(error));
}

bool hub_listing_add(struct hub_listing *listing, struct slice json, struct error *error) {
  json_t *root = json_parse(json, NULL);
  bool good = json_is_array(root) || malformed(error);
  for (size_t i = 0; good && i < json_array_size(root); i++) good = entry_read(listing, json_array_get(root, i), error);
  json_decref(root);
  return good;
}

const struct hub_file *hub_listing_find(const struct hub_listing *listing, const char *name) {
  for (int i = 0; i < listing->n; i++)
    if (strcmp(listing->files[i].name, name) == 0) return &listing->files[i];
  return NULL;
}

bool hub_commit_read(struct slice json, char commit[HUB_COMMIT_BYTES], struct error *error) {
  json_t *root = json_parse(json, NULL);
  const char *sha = json_string_value(json_object_get(root, "sha"));
  bool good = sha && hub_is_commit(sha);
  if (good) memcpy(commit, sha, HUB_COMMIT_BYTES);
  json_decref(root);
  return good ||
         error_set(error, ERROR_FORMAT,
                   "The hub does not tell the commit of the revision: look at HF_ENDPOINT, or try again later.");
}
