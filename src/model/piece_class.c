/* The table of classes, and which of them a folder is of. */
#include "model/piece_class.h"

#include "model/classic_added.h"

#include <string.h>

const char *const piece_role_keys[ROLES] = {"bos_token", "eos_token", "sep_token", "cls_token",
                                            "unk_token", "pad_token", "mask_token"};

/* clang-format off */
static const struct piece_class classes[] = {
    {.name = "XLMRobertaTokenizer", .model_type = "xlm-roberta",
     .special = {"<s>", "</s>", "</s>", "<s>", "<unk>", "<pad>", "<mask>"},
     .n_head = 4, .n_dropped = 3, .head = {{BOS, NULL, 0}, {PAD, NULL, 0}, {EOS, NULL, 0}, {UNK, NULL, 0}},
     .unk = 3, .adds_mask = true, .prefix_said = true, .before = {BOS, NO_ROLE}, .after = {EOS, NO_ROLE}},
    {.name = "CamembertTokenizer", .model_type = "camembert",
     .special = {"<s>", "</s>", "</s>", "<s>", "<unk>", "<pad>", "<mask>"},
     .n_head = 5, .n_dropped = 1, .head = {{NO_ROLE, "<s>NOTUSED", 0}, {PAD, NULL, 0}, {NO_ROLE, "</s>NOTUSED", 0},
                                           {UNK, NULL, 0}, {NO_ROLE, "<unk>NOTUSED", -100}},
     .unk = 3, .adds_mask = true, .mask_strips = true, .prefix_said = true, .before = {BOS, NO_ROLE}, .after = {EOS, NO_ROLE}},
    {.name = "T5Tokenizer", .model_type = "t5", .special = {NULL, "</s>", NULL, NULL, "<unk>", "<pad>", NULL},
     .unk = 2, .adds_extras = true, .before = {NO_ROLE, NO_ROLE}, .after = {EOS, NO_ROLE}},
    {.name = "AlbertTokenizer", .model_type = "albert",
     .special = {"[CLS]", "[SEP]", "[SEP]", "[CLS]", "<unk>", "<pad>", "[MASK]"},
     .unk = 1, .tidies = true, .lower = true, .prefix_said = true, .before = {CLS, NO_ROLE}, .after = {SEP, NO_ROLE}},
    {.name = "XLNetTokenizer", .model_type = "xlnet",
     .special = {"<s>", "</s>", "<sep>", "<cls>", "<unk>", "<pad>", "<mask>"},
     .unk = 0, .tidies = true, .before = {NO_ROLE, NO_ROLE}, .after = {SEP, CLS}},
};
/* clang-format on */

const struct piece_class *piece_class_find(const struct classic_vocabulary *files, struct error *error) {
  const char *name = json_string_value(json_object_get(files->settings, "tokenizer_class"));
  for (size_t i = 0; i < sizeof classes / sizeof *classes; i++)
    if (name ? classic_class_named(classes[i].name, name) : slice_is(files->model_type, classes[i].model_type))
      return &classes[i];
  error_set(
      error, ERROR_UNSUPPORTED,
      "%s is read as %s read it; this one belongs to \"%.*s\": save the model's tokenizer.json.", files->pieces_name,
      "XLMRobertaTokenizer, CamembertTokenizer, T5Tokenizer, AlbertTokenizer and XLNetTokenizer",
      name ? (int)strnlen(name, 60) : (int)files->model_type.size, name ? name : (const char *)files->model_type.data);
  return NULL;
}
