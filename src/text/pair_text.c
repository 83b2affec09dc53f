#include "text/pair_text.h"

#include "base/limits.h"
#include "base/utf8.h"
#include "text/detokenizer.h"

#include <string.h>
#include <strings.h>

/* --- messages ----------------------------------------------------------------------------------------------------- */

/* NULL: there is no memory, or it is no UTF-8. */
static json_t *message_make(const char *role, struct slice content, enum pair_form form) {
  const char *data = content.size ? (const char *)content.data : "";
  if (form == PAIR_STRINGS) return json_pack("{s:s, s:s%}", "role", role, "content", data, content.size);
  return json_pack("{s:s, s:[{s:s, s:s%}]}", "role", role, "content", "type", "text", "text", data, content.size);
}

/* Who says the two texts; another pair of roles is asked for where it is to be seen what they count for. */
struct pair_roles {
  const char *query, *document;
};

static const struct pair_roles own_roles = {"query", "document"};

static json_t *messages_make(const struct pair_text *pair, struct pair_roles roles) {
  json_t *list = json_array();
  bool made = list != NULL;
  if (pair->instruction.size > 0)
    made = made && json_array_append_new(list, message_make("system", pair->instruction, pair->form)) == 0;
  made = made && json_array_append_new(list, message_make(roles.query, pair->query, pair->form)) == 0 &&
         json_array_append_new(list, message_make(roles.document, pair->document, pair->form)) == 0;
  if (made) return list;
  json_decref(list);
  return NULL;
}

static bool messages_refuse(const struct pair_text *pair, struct error *error) {
  if (utf8_valid(pair->instruction) && utf8_valid(pair->query) && utf8_valid(pair->document))
    return error_set(error, ERROR_MEMORY, "Out of memory for two texts.");
  return error_set(error, ERROR_INVALID, "A text is not valid UTF-8.");
}

/* Without a tokenizer the template sees no bos_token and no eos_token. */
static bool pair_write(const struct pair_text *pair, struct pair_roles roles, struct chat_text *text,
                       struct error *error) {
  struct chat_input input = {.add_generation_prompt = pair->generation_prompt};
  time_t now = time(NULL);
  json_t *messages = messages_make(pair, roles);
  input.messages = messages;
  bool ok = (messages || messages_refuse(pair, error)) &&
            (localtime_r(&now, &input.now) || error_set(error, ERROR_INTERNAL, "The system has no local time."));
  if (ok && pair->tokenizer) ok = chat_template_write(pair->template, &input, pair->tokenizer, text, error);
  if (ok && !pair->tokenizer) ok = chat_template_render(pair->template, &input, text, error);
  json_decref(messages);
  return ok;
}

bool pair_messages_check(struct slice json, struct error *error) {
  static const char *const roles[] = {"query", "document", "system"};
  json_t *root = json_parse_client(json, true, error);
  const json_t *messages = json_object_get(root, "messages");
  size_t count[3] = {0}, others = 0;
  for (size_t i = 0; i < json_array_size(messages); i++) {
    const json_t *role = json_object_get(json_array_get(messages, i), "role");
    int k = 0;
    while (k < 3 && !(json_is_string(role) && slice_is(json_slice(role), roles[k]))) k++;
    if (k < 3)
      count[k]++;
    else
      others++;
  }
  bool parsed = root != NULL, fits = count[0] == 1 && count[1] == 1 && count[2] <= 1 && others == 0;
  json_decref(root);
  if (!parsed || fits) return fits;
  return error_set(error, ERROR_INVALID,
                   "The model scores two texts, which its chat template joins: the messages are %zu of the role query, "
                   "%zu of document, %zu of system and %zu of others, expected one query, one document, at most one "
                   "system (what the document is to do for the query), and no others.",
                   count[0], count[1], count[2], others);
}

/* --- the form ----------------------------------------------------------------------------------------------------- */

/* Is another text written for other texts, of each of the two? */
static bool pair_reaches(struct pair_text pair, struct error *error) {
  static const char *const texts[][2] = {{"alpha", "beta"}, {"gamma", "beta"}, {"alpha", "gamma"}};
  struct chat_text text[3];
  bool ok = true;
  for (int i = 0; i < 3; i++) {
    chat_text_init(&text[i]);
    pair.query = slice_text(texts[i][0]);
    pair.document = slice_text(texts[i][1]);
    ok = ok && pair_write(&pair, own_roles, &text[i], error);
  }
  for (int i = 1; ok && i < 3; i++)
    if (slice_equal(buffer_slice(&text[0].text), buffer_slice(&text[i].text)))
      ok = error_set(error, ERROR_UNSUPPORTED, "it writes the same, whatever the %s is", i == 1 ? "query" : "document");
  for (int i = 0; i < 3; i++) chat_text_release(&text[i]);
  return ok;
}

bool pair_form_find(const struct chat_template *template, bool generation_prompt, enum pair_form *form,
                    struct error *error) {
  struct error why = {0};
  for (*form = PAIR_STRINGS; *form < PAIR_FORMS && why.code != ERROR_MEMORY; ++*form)
    if (pair_reaches((struct pair_text){.template = template, .form = *form, .generation_prompt = generation_prompt},
                     &why))
      return true;
  if (why.code == ERROR_MEMORY) return error_set(error, why.code, "%s", why.text);
  return error_set(error, ERROR_UNSUPPORTED,
                   "The chat template does not join two texts, as messages of the roles query and document: %.200s. A "
                   "ranker by the logits of yes and no needs one that does (chat_template.jinja).",
                   why.text);
}

/* Is b what a is but for the names of the roles, in letters of whatever size? */
static bool renamed_equal(struct slice a, struct pair_roles a_roles, struct slice b, struct pair_roles b_roles) {
  const char *const names[][2] = {{a_roles.query, b_roles.query}, {a_roles.document, b_roles.document}};
  size_t i = 0, j = 0;
  while (i < a.size && j < b.size) {
    size_t step[2] = {1, 1};
    bool same = a.data[i] == b.data[j];
    for (int k = 0; k < 2 && !same; k++) {
      step[0] = strlen(names[k][0]), step[1] = strlen(names[k][1]);
      same = a.size - i >= step[0] && b.size - j >= step[1] &&
             strncasecmp((const char *)a.data + i, names[k][0], step[0]) == 0 &&
             strncasecmp((const char *)b.data + j, names[k][1], step[1]) == 0;
    }
    if (!same) return false;
    i += step[0], j += step[1];
  }
  return i == a.size && j == b.size;
}

/* The last of the pairs has roles that everybody's templates know. Names of roles begin with other letters than those
 * of the first. */
bool pair_roles_matter(const struct chat_template *template, bool generation_prompt, enum pair_form form, bool *matter,
                       struct error *error) {
  static const struct pair_roles roles[] = {{"query", "document"}, {"zeta", "omega"}, {"user", "assistant"}};
  const struct pair_text pair = {.template = template,
                                 .form = form,
                                 .generation_prompt = generation_prompt,
                                 .query = slice_text("alpha"),
                                 .document = slice_text("beta")};
  struct chat_text text[3];
  bool written[3], ok = true;
  for (int i = 0; i < 3; i++) {
    struct error why = {0};
    chat_text_init(&text[i]);
    written[i] = ok && pair_write(&pair, roles[i], &text[i], &why);
    if (why.code == ERROR_MEMORY) ok = error_set(error, why.code, "%s", why.text);
  }
  struct slice own = buffer_slice(&text[0].text), unknown = buffer_slice(&text[1].text);
  bool knows = !written[1] || !renamed_equal(own, roles[0], unknown, roles[1]);
  bool by_place =
      written[1] && written[2] && slice_equal(own, unknown) && slice_equal(own, buffer_slice(&text[2].text));
  *matter = written[0] && (knows || by_place);
  for (int i = 0; i < 3; i++) chat_text_release(&text[i]);
  return ok;
}

/* --- tokens ------------------------------------------------------------------------------------------------------- */

static bool whole_encode(const struct pair_text *pair, struct token_list *out, struct error *error) {
  struct chat_text text;
  chat_text_init(&text);
  bool ok = pair_write(pair, own_roles, &text, error) && chat_text_encode(&text, pair->tokenizer, out, error);
  chat_text_release(&text);
  return ok;
}

/* The ids that it ends with whatever the texts: those that two pairs share, which have no token in common. */
static bool ending_find(struct pair_text pair, struct token_list *ending, struct error *error) {
  struct token_list other;
  size_t same = 0;
  token_list_init(&other, ending->max);
  pair.query = pair.document = slice_text("0");
  bool ok = whole_encode(&pair, ending, error);
  pair.query = pair.document = slice_text("1 2 3 4");
  ok = ok && whole_encode(&pair, &other, error);
  while (ok && same < ending->count && same < other.count &&
         ending->ids[ending->count - 1 - same] == other.ids[other.count - 1 - same])
    same++;
  if (same > 0) memmove(ending->ids, ending->ids + ending->count - same, same * sizeof *ending->ids);
  ending->count = ok ? same : 0;
  token_list_release(&other);
  return ok;
}

/* Room for the ending is made at the cost of what is before it. */
static bool whole_cut(const struct pair_text *pair, struct token_list *whole, size_t max, struct error *error) {
  struct token_list ending;
  token_list_init(&ending, whole->max);
  bool ok = ending_find(*pair, &ending, error);
  size_t kept = ending.count < max ? ending.count : max;
  if (ok && kept > 0) memcpy(whole->ids + max - kept, ending.ids + ending.count - kept, kept * sizeof *whole->ids);
  whole->count = max;
  token_list_release(&ending);
  return ok;
}

/* The text of the document's first tokens, for no more than are to count; `room` has it where it is shorter. Where it
 * ends, what was one token may be several: then it is of fewer. */
static bool document_cut(struct pair_text *pair, struct buffer *room, struct error *error) {
  enum { BEYOND = 64 }; /* tokens by which it is told how much shorter a text has to be */
  size_t most = (size_t)pair->most, kept = most;
  struct token_list ids, again;
  if (most == 0) return true;
  token_list_init(&ids, most + 1);
  token_list_init(&again, most + BEYOND);
  bool ok = tokenizer_encode_first(pair->tokenizer, pair->document, 0, &ids, error);
  for (bool longer = ids.count > most; ok && longer;) {
    buffer_clear(room);
    ok = detokenize(pair->tokenizer, ids.ids, kept, DETOKENIZE_START | DETOKENIZE_WHOLE, room) ||
         error_set(error, ERROR_MEMORY, "Out of memory for the beginning of a text.");
    pair->document = buffer_slice(room);
    token_list_clear(&again);
    ok = ok && tokenizer_encode_first(pair->tokenizer, pair->document, 0, &again, error);
    longer = again.count > most;
    if (longer) kept -= again.count - most < kept ? again.count - most : kept;
  }
  token_list_release(&ids);
  token_list_release(&again);
  return ok;
}

/* All of it as its tokens, the document perhaps shorter than it was. */
static bool pair_encode(struct pair_text pair, struct token_list *out, struct error *error) {
  struct buffer room;
  buffer_init(&room, (size_t)pair.most * DETOKENIZER_OUT_MAX + DETOKENIZER_REST_MAX);
  bool ok = document_cut(&pair, &room, error) && whole_encode(&pair, out, error);
  buffer_release(&room);
  return ok;
}

bool pair_text_encode(const struct pair_text *pair, size_t max, bool cut, struct token_list *out, struct error *error) {
  struct token_list whole;
  size_t most = pair->instruction.size + pair->query.size + pair->document.size + LIMIT_TEMPLATE_OUTPUT_BYTES;
  token_list_init(&whole, most);
  bool ok = pair_encode(*pair, &whole, error);
  if (ok && whole.count > max)
    ok = cut ? whole_cut(pair, &whole, max, error)
             : error_set(error, ERROR_LIMIT,
                         "The two texts have %zu tokens with the chat template, more than max_seq_len %zu: shorten "
                         "them, or have them cut (truncate_prompt_tokens).",
                         whole.count, max);
  for (size_t i = 0; ok && i < whole.count; i++)
    ok = token_list_append(out, whole.ids[i]) ||
         error_set(error, ERROR_MEMORY, "Out of memory for the tokens of a text.");
  token_list_release(&whole);
  return ok;
}
