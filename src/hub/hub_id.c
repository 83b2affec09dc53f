/* The rules for names are the hub's: letters, digits, -, _ and ., no -- or .., none of - and . at either end. */
#include "hub/hub_id.h"

#include <stdio.h>
#include <string.h>

static const char expected[] =
    "expected ORG/NAME (or NAME, as \"gpt2\"), with or without :FILE or :QUANT and @REVISION";

static bool refuse(struct error *error, const char *text) {
  return error_set(error, ERROR_INVALID, "\"%.200s\" names no model of the Hugging Face hub: %s.", text, expected);
}

static const char *prefix_skip(const char *text) {
  static const char *const prefixes[] = {"https://hf.co/", "https://huggingface.co/", "hf.co/", "huggingface.co/"};
  for (size_t i = 0; i < sizeof prefixes / sizeof *prefixes; i++)
    if (strncmp(text, prefixes[i], strlen(prefixes[i])) == 0) return text + strlen(prefixes[i]);
  return text;
}

static bool is_edge(char c) { return c == '-' || c == '.'; }

/* One of the two parts of a repository's name. */
static bool part_check(const char *part, size_t size) {
  if (size == 0 || is_edge(part[0]) || is_edge(part[size - 1])) return false;
  for (size_t i = 0; i < size; i++) {
    char c = part[i];
    bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
    if (!plain && !is_edge(c)) return false;
    if (i > 0 && is_edge(c) && c == part[i - 1]) return false;
  }
  return true;
}

/* The oldest models, such as gpt2, have no organization before their name. */
static bool repository_check(const char *repository) {
  const char *slash = strchr(repository, '/'), *name = slash ? slash + 1 : repository;
  size_t size = strlen(repository);
  if (strchr(name, '/')) return false;
  if (size > 4 && strcmp(repository + size - 4, ".git") == 0) return false;
  return (!slash || part_check(repository, (size_t)(slash - repository))) && part_check(name, strlen(name));
}

/* What git allows in names, less what leads out of a folder. */
static bool revision_check(const char *revision) {
  for (const char *c = revision; *c; c++)
    if ((unsigned char)*c <= ' ' || *c == 0x7f || strchr(":\\~^?*[@", *c)) return false;
  size_t size = strlen(revision);
  return size > 0 && revision[0] != '/' && revision[size - 1] != '/' && revision[0] != '.' && revision[0] != '-' &&
         !strstr(revision, "..") && !strstr(revision, "//") && !strstr(revision, "/.");
}

static bool choice_check(const char *choice) {
  for (const char *c = choice; *c; c++)
    if ((unsigned char)*c < ' ' || *c == 0x7f || *c == '\\') return false;
  return choice[0] != '/' && choice[0] != '\0' && !strstr(choice, "..");
}

static bool part_copy(char *out, size_t room, const char *from, size_t size) {
  if (size >= room) return false;
  memcpy(out, from, size);
  out[size] = '\0';
  return true;
}

bool hub_id_parse(struct hub_id *id, const char *text, struct error *error) {
  const char *start = prefix_skip(text), *end = start + strlen(start);
  size_t size = strcspn(start, ":@");
  const char *colon = start[size] == ':' ? start + size : NULL; /* names of files may have an @ of their own */
  const char *at = colon ? strrchr(colon, '@') : strchr(start, '@');
  const char *choice_end = at ? at : end;
  *id = (struct hub_id){.revision = "main"};
  if (!part_copy(id->repository, sizeof id->repository, start, size) || !repository_check(id->repository))
    return refuse(error, text);
  if (colon && (!part_copy(id->choice, sizeof id->choice, colon + 1, (size_t)(choice_end - colon - 1)) ||
                !choice_check(id->choice)))
    return refuse(error, text);
  if (at &&
      (!part_copy(id->revision, sizeof id->revision, at + 1, (size_t)(end - at - 1)) || !revision_check(id->revision)))
    return refuse(error, text);
  return true;
}

bool hub_is_commit(const char *text) { return strlen(text) == 40 && strspn(text, "0123456789abcdef") == 40; }
