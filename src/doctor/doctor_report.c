/* Two forms of one report. Everything that is shown has been tamed or is the table's own. */
#include "doctor/doctor_report.h"

#include "base/json.h"

#include <stdio.h>

enum { NAME_WIDTH = 20, VALUE_WIDTH = 28 };

void problem_add(struct problems *problems, const char *sentence) {
  if (problems->count == PROBLEMS_MAX) return;
  char *text = problems->text[problems->count++];
  snprintf(text, RULE_TEXT_MAX, "%s", sentence);
  text_tame(text);
}

int findings_count(const struct facts *facts) {
  int count = 0;
  for (int i = 0; i < doctor_rule_count; i++) count += rule_holds(&doctor_rules[i], facts);
  return count;
}

/* --- for people --------------------------------------------------------------------------------------------------- */

static void area_print(const struct facts *facts, enum fact_area area, struct buffer *out) {
  bool named = false;
  for (int id = 0; id < FACT_COUNT; id++) {
    const struct fact_definition *fact = &fact_definitions[id];
    char value[FACT_TEXT_MAX];
    bool said = facts->known[id] && (fact->unit != UNIT_FLAG || facts->value[id] != 0);
    if (fact->area != area || !said) continue;
    if (!named) buffer_print(out, "%s\n", fact_areas[area]);
    named = true;
    fact_print(facts, (enum fact_id)id, value);
    buffer_print(out, "  %-*s  %-*s  %s\n", NAME_WIDTH, fact->name, VALUE_WIDTH, value, fact->source);
  }
  if (named) buffer_text(out, "\n");
}

static void finding_print(const struct facts *facts, const struct rule *rule, int number, struct buffer *out) {
  const struct rule_condition *shown = &rule->condition[0];
  const struct fact_definition *fact = &fact_definitions[shown->fact];
  char symptom[RULE_TEXT_MAX] = "", change[RULE_TEXT_MAX] = "", value[FACT_TEXT_MAX], bound[FACT_TEXT_MAX];
  rule_sentence(rule->symptom, facts, symptom);
  rule_sentence(rule->change, facts, change);
  fact_print(facts, shown->fact, value);
  fact_print_value(fact->unit, shown->bound, bound);
  buffer_print(out, "%d. %s\n   %s (%s) is %s", number, symptom, fact->name, fact->source, value);
  if (fact->unit != UNIT_FLAG)
    buffer_print(out, "; a finding %s %s", shown->when == WHEN_ABOVE ? "above" : "below", bound);
  buffer_print(out, ".\n   -> %s\n", change);
}

bool report_write_text(const struct facts *facts, const struct problems *problems, struct buffer *out) {
  int count = findings_count(facts), number = 0;
  for (int area = 0; area < AREA_COUNT; area++) area_print(facts, (enum fact_area)area, out);
  for (int i = 0; i < problems->count; i++) buffer_print(out, "Could not look: %s\n", problems->text[i]);
  buffer_print(out, count == 0 ? "No findings.\n" : count == 1 ? "1 finding\n" : "%d findings\n", count);
  for (int i = 0; i < doctor_rule_count; i++)
    if (rule_holds(&doctor_rules[i], facts)) finding_print(facts, &doctor_rules[i], ++number, out);
  return !out->failed;
}

/* --- JSON --------------------------------------------------------------------------------------------------------- */

static void text_member(struct buffer *out, const char *name, const char *text) {
  buffer_print(out, ",\"%s\":", name);
  json_write_string(out, slice_text(text));
}

static void value_write(const struct facts *facts, enum fact_id id, struct buffer *out) {
  enum fact_unit unit = fact_definitions[id].unit;
  if (unit == UNIT_TEXT)
    json_write_string(out, slice_text(facts->text[id]));
  else if (unit == UNIT_FLAG)
    buffer_text(out, facts->value[id] != 0 ? "true" : "false");
  else
    json_write_number(out, facts->value[id]);
}

static void area_write(const struct facts *facts, enum fact_area area, struct buffer *out) {
  const char *comma = "";
  buffer_print(out, "%s\"%s\":{", area ? "," : "", fact_areas[area]);
  for (int id = 0; id < FACT_COUNT; id++) {
    if (fact_definitions[id].area != area || !facts->known[id]) continue;
    buffer_print(out, "%s\"%s\":", comma, fact_definitions[id].name);
    value_write(facts, (enum fact_id)id, out);
    comma = ",";
  }
  buffer_text(out, "}");
}

static void finding_write(const struct facts *facts, const struct rule *rule, struct buffer *out) {
  const struct rule_condition *shown = &rule->condition[0];
  const struct fact_definition *fact = &fact_definitions[shown->fact];
  char text[RULE_TEXT_MAX];
  buffer_print(out, "{\"area\":\"%s\"", fact_areas[fact->area]);
  text_member(out, "fact", fact->name);
  text_member(out, "source", fact->source);
  buffer_text(out, ",\"value\":");
  value_write(facts, shown->fact, out);
  text_member(out, "when", shown->when == WHEN_ABOVE ? "above" : "below");
  buffer_text(out, ",\"bound\":");
  json_write_number(out, shown->bound);
  rule_sentence(rule->symptom, facts, text);
  text_member(out, "symptom", text);
  rule_sentence(rule->change, facts, text);
  text_member(out, "change", text);
  buffer_text(out, "}");
}

bool report_write_json(const struct facts *facts, const struct problems *problems, struct buffer *out) {
  const char *comma = "";
  buffer_text(out, "{");
  for (int area = 0; area < AREA_COUNT; area++) area_write(facts, (enum fact_area)area, out);
  buffer_text(out, ",\"findings\":[");
  for (int i = 0; i < doctor_rule_count; i++) {
    if (!rule_holds(&doctor_rules[i], facts)) continue;
    buffer_text(out, comma);
    finding_write(facts, &doctor_rules[i], out);
    comma = ",";
  }
  buffer_text(out, "],\"problems\":[");
  for (int i = 0; i < problems->count; i++) {
    buffer_text(out, i ? "," : "");
    json_write_string(out, slice_text(problems->text[i]));
  }
  buffer_text(out, "]}\n");
  return !out->failed;
}
