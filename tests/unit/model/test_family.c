/* Plans of the tiny fixtures: the ops, groups and weights that each family's config asks for. */
#include "model/family.h"
#include "model_variant.h"

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

struct planned {
  struct checkpoint *checkpoint;
  struct buffer block[PLAN_ROLES];
  const struct plan *plan;
};

static void planned_open_path(struct planned *p, const char *path) {
  struct error error = {0};
  p->checkpoint = checkpoint_open(path, &error);
  if (!p->checkpoint) fail_msg("%s", error.text);
  const struct family *family = family_find(p->checkpoint, &error);
  if (!family) fail_msg("%s", error.text);
  for (int role = 0; role < PLAN_ROLES; role++) buffer_init(&p->block[role], 1 << 20);
  if (!family_plan(family, p->checkpoint, 512, p->block, &error)) fail_msg("%s: %s", path, error.text);
  p->plan = (const struct plan *)(const void *)p->block[PLAN_DECODER].data;
}

static void planned_open(struct planned *p, const char *name) {
  char path[512];
  snprintf(path, sizeof path, "%s/model/%s", FIXTURES, name);
  planned_open_path(p, path);
}

/* With some of config.json changed: model_variant.h. */
static void planned_open_variant(struct planned *p, const char *name, const char *change) {
  struct model_variant variant;
  json_t *object = json_loads(change, 0, NULL);
  assert_non_null(object);
  variant_make(&variant, name, object);
  planned_open_path(p, variant.path);
  variant_remove(&variant);
  json_decref(object);
}

static void planned_close(struct planned *p) {
  for (int role = 0; role < PLAN_ROLES; role++) buffer_release(&p->block[role]);
  checkpoint_close(p->checkpoint);
}

/* Op `index` of layer `layer`: 0 qkv, 1 attend, 2 out, 3 gate_up, 4 down. */
static const struct op *layer_op(const struct plan *plan, int layer, int index) {
  return plan_ops(plan) + 1 + layer * 5 + index;
}

static const char *weight_text(const struct plan *plan, int weight) {
  return plan_name(plan, plan_weights(plan)[weight].name);
}

static const char *part_text(const struct plan *plan, int weight, int part) {
  return plan_name(plan, plan_weights(plan)[weight].part[part].tensor);
}

/* What the only part of a weight is of. */
static const char *tensor_of(const struct plan *plan, const char *weight) {
  for (int i = 0; i < plan->n_weight; i++)
    if (strcmp(weight_text(plan, i), weight) == 0) return part_text(plan, i, 0);
  fail_msg("there is no weight \"%s\"", weight);
  return NULL;
}

/* A config that says that head and table are one, beside a file that stores another head: that one counts, of what
 * generates and of what ranks by the logits of a word. */
static void test_head_beside_a_table_said_to_be_it(void **state) {
  (void)state;
  struct planned p;
  struct model_variant variant;
  planned_open_variant(&p, "qwen2", "{\"tie_word_embeddings\": true}");
  assert_string_equal(tensor_of(p.plan, "head"), "lm_head.weight");
  planned_close(&p);
  json_t *tied = json_pack("{s:b}", "tie_word_embeddings", 1);
  variant_make_in(&variant, "encoder", "qwen3-yes-no", tied);
  planned_open_path(&p, variant.path);
  assert_string_equal(tensor_of(p.plan, "score.yes"), "lm_head.weight");
  planned_close(&p);
  variant_remove(&variant);
  json_decref(tied);
  planned_open_path(&p, FIXTURES "/encoder/qwen3-yes");
  assert_string_equal(tensor_of(p.plan, "score.yes"), "model.embed_tokens.weight");
  planned_close(&p);
}

static void test_shape_of_a_plan(void **state) {
  (void)state;
  static const char *const names[] = {"llama2", "llama3", "llama_bias_yarn", "mistral",           "smollm2",
                                      "qwen2",  "qwen3",  "gemma3",          "llama3/model.gguf", "gemma3/model.gguf"};
  for (size_t n = 0; n < sizeof names / sizeof *names; n++) {
    static const int kinds[] = {OP_LINEAR, OP_ATTEND, OP_LINEAR, OP_LINEAR, OP_LINEAR};
    struct planned p;
    planned_open(&p, names[n]);
    const struct op *ops = plan_ops(p.plan);
    int layers = 0;
    for (int i = 0; i < p.plan->n_group; i++) layers += plan_groups(p.plan)[i].n_layer;
    assert_int_equal(p.plan->n_op, 1 + 5 * layers + 3);
    assert_int_equal(ops[0].kind, OP_EMBED);
    for (int i = 0; i < 5 * layers; i++) assert_int_equal(ops[1 + i].kind, kinds[i % 5]);
    assert_int_equal(ops[p.plan->n_op - 3].kind, OP_SELECT);
    assert_int_equal(ops[p.plan->n_op - 2].kind, OP_LINEAR);
    assert_int_equal(ops[p.plan->n_op - 1].kind, OP_SAMPLE);
    for (int layer = 0; layer < layers; layer++) { /* one residual stream, added to in place */
      for (int i = 2; i < 5; i += 2) {
        assert_int_equal(layer_op(p.plan, layer, i)->out, ops[0].out);
        assert_int_equal(layer_op(p.plan, layer, i)->in[1], ops[0].out);
      }
    }
    planned_close(&p);
  }
}

/* Layer 1 of this twin has gate and up of different types: two linears, the second times the first. */
static void test_gate_and_up_apart(void **state) {
  (void)state;
  struct planned p;
  planned_open(&p, "qwen3/model.gguf");
  const struct op *gate = layer_op(p.plan, 1, 3), *up = layer_op(p.plan, 1, 4), *down = layer_op(p.plan, 1, 5);
  assert_int_equal(p.plan->n_op, 1 + 5 * 3 + 1 + 3);
  assert_string_equal(weight_text(p.plan, gate->weight[0]), "gate.1");
  assert_string_equal(weight_text(p.plan, up->weight[0]), "up.1");
  assert_string_equal(weight_text(p.plan, down->weight[0]), "down.1");
  assert_int_equal(gate->args.linear.act, ACT_SILU);
  assert_int_equal(up->args.linear.act, ACT_NONE);
  assert_int_equal(up->args.linear.norm, NORM_RMS);
  assert_int_equal(up->weight[2], gate->weight[2]);
  assert_true(up->args.linear.multiply && !gate->args.linear.multiply);
  assert_true(up->in[1] == gate->out && up->out == gate->out && down->in[0] == up->out);
  planned_close(&p);
}

static void test_llama(void **state) {
  (void)state;
  struct planned p;
  planned_open(&p, "llama2");
  assert_int_equal(p.plan->hidden, 40);
  assert_int_equal(p.plan->vocab, 270);
  assert_int_equal(p.plan->max_position, 512);
  const struct op *qkv = layer_op(p.plan, 1, 0), *gate = layer_op(p.plan, 1, 3), *attend = layer_op(p.plan, 1, 1);
  assert_string_equal(weight_text(p.plan, qkv->weight[0]), "qkv.1");
  assert_string_equal(part_text(p.plan, qkv->weight[0], 2), "model.layers.1.self_attn.v_proj.weight");
  assert_string_equal(weight_text(p.plan, qkv->weight[2]), "model.layers.1.input_layernorm.weight");
  assert_int_equal(qkv->weight[1], -1);
  assert_int_equal(qkv->args.linear.norm, NORM_RMS);
  assert_string_equal(part_text(p.plan, gate->weight[0], 0), "model.layers.1.mlp.gate_proj.weight");
  assert_int_equal(plan_weights(p.plan)[gate->weight[0]].rows, 160); /* 72 gate and 72 up rows, padded to 80 each */
  assert_int_equal(gate->args.linear.act, ACT_SILU);
  assert_int_equal(attend->args.attend.rope_style, ROPE_HALF);
  assert_int_equal(attend->args.attend.layer, 1);
  assert_true(fabs((double)attend->args.attend.scale - 1 / sqrt(10)) < 1e-7);
  const float *frequency = plan_floats(p.plan) + attend->args.attend.rope_freq;
  for (int i = 0; i < 5; i++) assert_true(fabs((double)frequency[i] - pow(10000, -i / 5.0)) < 1e-7);
  const struct op *head = plan_ops(p.plan) + p.plan->n_op - 2;
  assert_string_equal(weight_text(p.plan, head->weight[0]), "head");
  planned_close(&p);
}

static void test_variants(void **state) {
  (void)state;
  struct planned p;
  planned_open(&p, "mistral");
  assert_int_equal(plan_groups(p.plan)[0].window, 20);
  assert_int_equal(layer_op(p.plan, 0, 1)->args.attend.dim_k, 12);
  planned_close(&p);

  planned_open(&p, "smollm2"); /* tied: the head is the embedding table */
  assert_int_equal(plan_ops(p.plan)[p.plan->n_op - 2].weight[0], plan_ops(p.plan)[0].weight[0]);
  planned_close(&p);

  planned_open(&p, "qwen2");
  int bias = layer_op(p.plan, 2, 0)->weight[1];
  assert_string_equal(weight_text(p.plan, bias), "qkv.2.bias");
  assert_string_equal(part_text(p.plan, bias, 1), "model.layers.2.self_attn.k_proj.bias");
  assert_int_equal(plan_weights(p.plan)[bias].cols, 96);
  assert_int_equal(layer_op(p.plan, 2, 2)->weight[1], -1);
  assert_int_equal(plan_groups(p.plan)[0].window, 0);
  planned_close(&p);

  planned_open(&p, "llama_bias_yarn");
  bias = layer_op(p.plan, 0, 3)->weight[1];
  assert_int_equal(plan_weights(p.plan)[bias].cols, 128); /* joined and padded as gate_up's rows are */
  assert_true(plan_weights(p.plan)[bias].interleaved);
  assert_true(layer_op(p.plan, 0, 2)->weight[1] >= 0 && layer_op(p.plan, 0, 4)->weight[1] >= 0);
  assert_true(fabs((double)layer_op(p.plan, 0, 1)->args.attend.rope_scale - (0.1 * log(4) + 1)) < 1e-7);
  planned_close(&p);

  planned_open(&p, "qwen3");
  assert_string_equal(weight_text(p.plan, layer_op(p.plan, 1, 1)->weight[1]), "model.layers.1.self_attn.k_norm.weight");
  planned_close(&p);
}

static void test_gemma3(void **state) {
  (void)state;
  struct planned p;
  planned_open(&p, "gemma3");
  assert_int_equal(p.plan->n_group, 2);
  assert_int_equal(plan_groups(p.plan)[0].n_layer, 1); /* layer 2 sees everything */
  assert_int_equal(plan_groups(p.plan)[0].window, 0);
  assert_int_equal(plan_groups(p.plan)[1].n_layer, 3);
  assert_int_equal(plan_groups(p.plan)[1].window, 12);
  assert_int_equal(layer_op(p.plan, 3, 1)->args.attend.group, 1);
  assert_int_equal(layer_op(p.plan, 3, 1)->args.attend.layer, 2);
  const float *floats = plan_floats(p.plan);
  assert_true(fabs((double)floats[layer_op(p.plan, 2, 1)->args.attend.rope_freq] - 0.25) < 1e-7); /* linear, by 4 */
  assert_true(fabs((double)floats[layer_op(p.plan, 3, 1)->args.attend.rope_freq] - 1) < 1e-7);
  const struct op *out = layer_op(p.plan, 0, 2), *gate = layer_op(p.plan, 0, 3), *down = layer_op(p.plan, 0, 4);
  assert_string_equal(weight_text(p.plan, out->weight[3]), "model.layers.0.post_attention_layernorm.weight");
  assert_string_equal(weight_text(p.plan, gate->weight[2]), "model.layers.0.pre_feedforward_layernorm.weight");
  assert_string_equal(weight_text(p.plan, down->weight[3]), "model.layers.0.post_feedforward_layernorm.weight");
  assert_true(plan_weights(p.plan)[gate->weight[2]].part[0].add == 1);
  assert_int_equal(gate->args.linear.act, ACT_GELU_TANH);
  assert_true(fabs((double)plan_ops(p.plan)[0].args.embed.scale - sqrt(44)) < 1e-6);
  assert_true(fabs((double)layer_op(p.plan, 0, 1)->args.attend.scale - 1 / sqrt(24)) < 1e-7);
  assert_true(plan_ops(p.plan)[p.plan->n_op - 2].args.linear.softcap == 12);
  planned_close(&p);
}

/* The same network from GGUF: other names, neighbours as rotation partners, divided frequencies, norms as they are. */
static void test_gguf_twins(void **state) {
  (void)state;
  struct planned hf, gguf;
  planned_open(&hf, "llama3");
  planned_open(&gguf, "llama3/model.gguf");
  const struct op *attend = layer_op(gguf.plan, 0, 1);
  assert_int_equal(attend->args.attend.rope_style, ROPE_PAIRS);
  assert_int_equal(gguf.plan->n_float, hf.plan->n_float);
  for (uint32_t i = 0; i < hf.plan->n_float; i++)
    assert_true(fabsf(plan_floats(hf.plan)[i] / plan_floats(gguf.plan)[i] - 1) < 1e-6f);
  assert_string_equal(part_text(gguf.plan, layer_op(gguf.plan, 2, 3)->weight[0], 1), "blk.2.ffn_up.weight");
  assert_string_equal(checkpoint_architecture(gguf.checkpoint), "llama");
  planned_close(&hf);
  planned_close(&gguf);

  planned_open(&gguf, "gemma3/model.gguf");
  const struct op *gate = layer_op(gguf.plan, 0, 3);
  assert_string_equal(weight_text(gguf.plan, gate->weight[2]), "blk.0.ffn_norm.weight");
  assert_true(plan_weights(gguf.plan)[gate->weight[2]].part[0].add == 0);
  assert_int_equal(layer_op(gguf.plan, 0, 1)->args.attend.rope_style, ROPE_HALF);
  assert_int_equal(plan_groups(gguf.plan)[1].window, 12);
  planned_close(&gguf);
}

/* What config.json does not mention is 4096 tokens; a null is no window; where windows are an option, it is off. */
static void test_windows(void **state) {
  (void)state;
  static const struct {
    const char *model, *change;
    int window;
  } cases[] = {
      {"mistral", "{}", 20},
      {"mistral", "{\"sliding_window\": null}", 4096}, /* here null takes the key away */
      {"mistral", "{\"sliding_window\": null, \"text_config\": {\"sliding_window\": null}}", 0},
      {"mistral", "{\"sliding_window\": null, \"architectures\": null}", 4096},
      {"llama2", "{\"sliding_window\": 20}", 0},
      {"llama2", "{\"architectures\": null}", 0},
      {"qwen2", "{\"sliding_window\": null}", 0},
      {"qwen2", "{\"sliding_window\": null, \"use_sliding_window\": true, \"max_window_layers\": 0}", 4096},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct planned p;
    planned_open_variant(&p, cases[i].model, cases[i].change);
    if (plan_groups(p.plan)[0].window != cases[i].window)
      fail_msg("%s with %s: window %d", cases[i].model, cases[i].change, plan_groups(p.plan)[0].window);
    planned_close(&p);
  }
}

static void test_yarn_scales(void **state) {
  (void)state;
  static const struct {
    const char *settings;
    double attention;
  } cases[] = {
      {"\"mscale\": 1.5", 1.1386294361119891},
      {"\"mscale\": 1.5, \"mscale_all_dim\": 0.5", 1.1296432507391427},
      {"\"mscale\": 1.5, \"mscale_all_dim\": 0.5, \"attention_factor\": 0.7", 0.7},
  };
  for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
    struct planned p;
    char change[200];
    snprintf(change, sizeof change, "{\"rope_scaling\": {\"rope_type\": \"yarn\", \"factor\": 4.0, %s}}",
             cases[i].settings);
    planned_open_variant(&p, "llama_bias_yarn", change);
    double actual = (double)layer_op(p.plan, 0, 1)->args.attend.rope_scale;
    if (fabs(actual - cases[i].attention) > 1e-6) fail_msg("%s: %.9g", cases[i].settings, actual);
    planned_close(&p);
  }
}

/* The twin of gemma3 with the key that names its linear scaling made into another: the factor alone means the same. */
static void test_gguf_factor_alone(void **state) {
  (void)state;
  struct planned p;
  char path[] = "/tmp/spate-factor-XXXXXX";
  gguf_variant_make(path, "gemma3", "gemma3.rope.scaling.", 0, "typo", 4);
  planned_open_path(&p, path);
  unlink(path);
  assert_true(fabs((double)plan_floats(p.plan)[layer_op(p.plan, 2, 1)->args.attend.rope_freq] - 0.25) < 1e-7);
  assert_true(fabs((double)plan_floats(p.plan)[layer_op(p.plan, 3, 1)->args.attend.rope_freq] - 1) < 1e-7);
  planned_close(&p);
}

static void test_facts(void **state) {
  (void)state;
  struct planned p;
  struct buffer json;
  struct error error;
  buffer_init(&json, 1 << 20);
  planned_open(&p, "gemma3/model.gguf");
  assert_true(checkpoint_facts(p.checkpoint, &json));
  json_t *facts = json_parse(buffer_slice(&json), &error);
  assert_non_null(facts);
  assert_string_equal(json_string_value(json_object_get(facts, "kind")), "gguf");
  json_t *config = json_object_get(facts, "config");
  assert_int_equal(json_integer_value(json_object_get(config, "gemma3.attention.sliding_window")), 12);
  json_decref(facts);
  planned_close(&p);
  buffer_release(&json);
}

int main(void) {
  const struct CMUnitTest tests[] = {
      cmocka_unit_test(test_head_beside_a_table_said_to_be_it),
      cmocka_unit_test(test_shape_of_a_plan),
      cmocka_unit_test(test_gate_and_up_apart),
      cmocka_unit_test(test_llama),
      cmocka_unit_test(test_variants),
      cmocka_unit_test(test_gemma3),
      cmocka_unit_test(test_gguf_twins),
      cmocka_unit_test(test_windows),
      cmocka_unit_test(test_yarn_scales),
      cmocka_unit_test(test_gguf_factor_alone),
      cmocka_unit_test(test_facts),
  };
  return cmocka_run_group_tests(tests, NULL, NULL);
}
