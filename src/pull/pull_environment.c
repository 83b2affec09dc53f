/* The token goes nowhere but into a header for the hub itself. */
#include "pull/pull_environment.h"

#include "hub/hub_cache.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>

enum { STALL_SECONDS = 10 };

static const char *variable(const char *name) {
  const char *value = getenv(name);
  return value && *value ? value : NULL;
}

static bool is_true(const char *value) {
  static const char *const words[] = {"1", "ON", "YES", "TRUE"};
  for (size_t i = 0; value && i < sizeof words / sizeof *words; i++)
    if (strcasecmp(value, words[i]) == 0) return true;
  return false;
}

static bool endpoint_read(struct pull_environment *environment, struct error *error) {
  const char *endpoint = variable("HF_ENDPOINT");
  int size = snprintf(environment->endpoint, sizeof environment->endpoint, "%s",
                      endpoint ? endpoint : "https://huggingface.co");
  bool good = size < (int)sizeof environment->endpoint;
  while (good && size > 0 && environment->endpoint[size - 1] == '/') environment->endpoint[--size] = '\0';
  good = good && http_url_parse(&environment->hub, slice_text(environment->endpoint), NULL) &&
         !http_url_has_query(&environment->hub);
  return good || error_set(error, ERROR_INVALID,
                           "HF_ENDPOINT is \"%.200s\", expected the address of a hub such as https://huggingface.co.",
                           endpoint ? endpoint : "");
}

/* Spaces around it and the end of a line are no part of it. */
static bool token_copy(struct pull_environment *environment, const char *text, const char *from, struct error *error) {
  const char *start = text + strspn(text, " \t\r\n");
  size_t size = strlen(start);
  while (size && strchr(" \t\r\n", start[size - 1])) size--;
  bool plain = size <= LIMIT_HUB_TOKEN_BYTES;
  for (size_t i = 0; plain && i < size; i++) plain = start[i] > ' ' && start[i] < 0x7f;
  if (!plain) return error_set(error, ERROR_INVALID, "What %s has is no token of the hub: make a new one.", from);
  memcpy(environment->token, start, size);
  environment->token[size] = '\0';
  return true;
}

static bool token_file_read(struct pull_environment *environment, struct error *error) {
  char path[PATH_MAX], text[LIMIT_HUB_TOKEN_BYTES + 64];
  const char *named = variable("HF_TOKEN_PATH");
  if (named && !hub_named_path(path, named, NULL))
    return error_set(error, ERROR_INVALID, "HF_TOKEN_PATH is no path that can be read.");
  if (!named && (!hub_home(path, NULL) || strlen(path) + sizeof "/token" > sizeof path)) return true;
  if (!named) strcat(path, "/token");
  FILE *file = fopen(path, "r");
  if (!file && errno == ENOENT) return true;
  if (!file) return error_set(error, ERROR_IO, "The token file %s cannot be read: %s.", path, strerror(errno));
  size_t size = fread(text, 1, sizeof text - 1, file);
  fclose(file);
  text[size] = '\0';
  return token_copy(environment, text, path, error);
}

static bool token_read(struct pull_environment *environment, struct error *error) {
  const char *token = variable("HF_TOKEN");
  if (!token) token = variable("HUGGING_FACE_HUB_TOKEN"); /* its former name */
  if (is_true(getenv("HF_HUB_DISABLE_IMPLICIT_TOKEN"))) return true;
  return token ? token_copy(environment, token, "HF_TOKEN", error) : token_file_read(environment, error);
}

static bool stall_read(struct pull_environment *environment, struct error *error) {
  const char *text = variable("HF_HUB_DOWNLOAD_TIMEOUT");
  char *end;
  long seconds = text ? strtol(text, &end, 10) : STALL_SECONDS;
  environment->stall_s = (int)seconds;
  if (seconds >= 1 && seconds <= LIMIT_HUB_STALL_SECONDS && (!text || *end == '\0')) return true;
  return error_set(error, ERROR_INVALID, "HF_HUB_DOWNLOAD_TIMEOUT is \"%.40s\", expected seconds from 1 to %d.", text,
                   LIMIT_HUB_STALL_SECONDS);
}

bool pull_environment_read(struct pull_environment *environment, struct error *error) {
  *environment =
      (struct pull_environment){.offline = is_true(getenv("HF_HUB_OFFLINE")) || is_true(getenv("TRANSFORMERS_OFFLINE")),
                                .proxies = http_proxy_environment()};
  return endpoint_read(environment, error) && token_read(environment, error) && stall_read(environment, error);
}
