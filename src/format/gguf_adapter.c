/* general.type, general.architecture, adapter.type, adapter.lora.alpha and spate.base_digest. */
#include "format/gguf_adapter.h"

#include <math.h>
#include <string.h>

static bool text_expect(const struct gguf *gguf, const char *key, const char *expected, struct error *error) {
  struct slice value = {0};
  if (!gguf_get_string(gguf, key, GGUF_REQUIRED, &value, error)) return false;
  if (value.size == strlen(expected) && memcmp(value.data, expected, value.size) == 0) return true;
  return error_set(error, ERROR_UNSUPPORTED, "%s is \"%.*s\"; expected \"%s\".", key,
                   (int)(value.size < 40 ? value.size : 40), (const char *)value.data, expected);
}

bool gguf_rows_in_pairs(const char *architecture) {
  static const char *const names[] = {"llama", "mistral3", "granite", "smollm3"};
  for (size_t i = 0; i < sizeof names / sizeof *names; i++)
    if (strcmp(architecture, names[i]) == 0) return true;
  return false;
}

/* Names of architectures are short words. */
static bool architecture_read(const struct gguf *gguf, struct gguf_adapter *settings, struct error *error) {
  static const char key[] = "general.architecture";
  struct slice name = {0};
  if (!gguf_get_string(gguf, key, GGUF_REQUIRED, &name, error)) return false;
  if (name.size >= sizeof settings->architecture || memchr(name.data, '\0', name.size))
    return error_set(error, ERROR_FORMAT, "%s has %zu bytes, or a zero byte; expected a name of less than %d.", key,
                     name.size, GGUF_ADAPTER_NAME);
  memcpy(settings->architecture, name.data, name.size);
  settings->pairs = gguf_rows_in_pairs(settings->architecture);
  return true;
}

static bool base_read(const struct gguf *gguf, struct gguf_adapter *settings, struct error *error) {
  static const char key[] = "spate.base_digest";
  struct slice digest = {0};
  if (!gguf_get_string(gguf, key, GGUF_OPTIONAL, &digest, error)) return false;
  settings->has_base = digest.data && hash_parse(digest, &settings->base);
  return !digest.data || settings->has_base ||
         error_set(error, ERROR_FORMAT, "%s is no 32 lower-case hexadecimal digits.", key);
}

bool gguf_adapter_settings(const struct gguf *gguf, struct gguf_adapter *settings, struct error *error) {
  static const char invocation[] = "adapter.alora.invocation_tokens";
  *settings = (struct gguf_adapter){0};
  if (!text_expect(gguf, "general.type", "adapter", error) || !text_expect(gguf, "adapter.type", "lora", error) ||
      !architecture_read(gguf, settings, error) || !base_read(gguf, settings, error) ||
      !gguf_get_float(gguf, "adapter.lora.alpha", GGUF_OPTIONAL, &settings->alpha, error))
    return false;
  if (gguf_find(gguf, invocation))
    return error_set(error, ERROR_UNSUPPORTED, "%s is there; an adapter works on the whole prompt.", invocation);
  return isfinite(settings->alpha) || error_set(error, ERROR_FORMAT, "adapter.lora.alpha is no finite number.");
}
