"""Calls of everything that chat templates can name, for make_chat_fixtures.py: a sample of values × callees ×
arguments, and cases that were once wrong."""

import random

VALUES = ["nothing", "none", "true", "0", "3", "-2", "1.5", "''", "'a'", "'Ab, <c>'", "'12'", "[]", "[3, 1, 2]", "['b', 'a']",
          "()", "('b', 'a')", "{}", "{'a': 1, 'b': none}", "range(3)", "{'a': 1}.items()", "[[1, 2], ['x', none]]",
          "namespace(a=1)", "'a\\tb\\n c'", "18446744073709551615", "1e300", "'<Ab>, %s {}'|safe", "['<', '&'|e]"]
ARGUMENTS = ["", "none", "2", "'a'", "-1", "1.5", "true", "['a', 'b']", "('a', 'b')", "{'a': 1}", "'a', 'b'", "1, 'x'", "'b', 1",
             "'a', none", "none, 1", "2, 3", "0, 1, true", "'<'", "'<'|safe", "['<', '>'|safe, 1]", "'A', '<'", "9, '-'", "'a', 'b', 1", "'a', 1, 2", "1, 2, 3, 4, 5"]
LAZY = ["map", "select", "reject", "selectattr", "rejectattr", "items", "batch", "slice", "unique", "reverse"]
FILTERS = LAZY + ["abs", "attr", "capitalize", "center", "count", "default", "dictsort", "filesizeformat", "first", "float",
                  "e", "escape", "forceescape", "format", "groupby", "indent", "int", "join", "last", "length", "list", "lower", "max", "min", "pprint", "replace",
                  "round", "safe", "sort", "string", "striptags", "sum", "title", "tojson", "trim", "truncate", "upper", "urlencode", "urlize", "wordcount", "wordwrap", "xmlattr"]
TESTS = ["boolean", "callable", "defined", "divisibleby", "eq", "escaped", "even", "false", "filter", "float", "ge", "gt", "in", "integer",
         "iterable", "le", "lower", "lt", "mapping", "ne", "none", "number", "odd", "sequence", "string", "test", "true",
         "undefined", "upper"]
METHODS = ["capitalize", "center", "count", "endswith", "expandtabs", "find", "format", "index", "isalnum", "isalpha",
           "isdecimal", "isdigit", "islower", "isnumeric", "isspace", "istitle", "isupper", "isascii", "isprintable", "casefold", "format_map", "fromkeys", "join", "ljust", "lower", "lstrip",
           "partition", "removeprefix", "removesuffix", "replace", "rfind", "rindex", "rjust", "rpartition", "rsplit", "rstrip",
           "split", "splitlines", "startswith", "strip", "swapcase", "title", "upper", "zfill", "get", "items", "keys",
           "values", "copy"]

ROWS = "[{'a': 'x', 'b': 2}, {'a': 'Y', 'b': 1}, {'a': 'X', 'b': 3}, {'b': 0}]"
CASES = [
    "{{ 'a'.join(none) }}", "{{ ','.join(messages[0].nothing) }}", "{{ 'abc'.upper(1) }}",
    "{{ 'abcabc'.find('c', 3) }} {{ 'abcabc'.find('c', -1) }} {{ 'abc'.find('', 4) }} {{ 'abc'.find('', 3) }}",
    "{{ 'abcabc'.rfind('b', 0, -2) }} {{ 'aXbX'.count('X', 2) }} {{ 'abc'.count('') }} {{ 'abc'.count('', 1, 2) }}",
    "{{ 'abc'.startswith('b', 1) }} {{ 'abc'.endswith('b', 0, 2) }} {{ 'abc'.endswith(('x', 'c'), -1, none) }}",
    "{{ 'abc'.rindex('c') }} {{ [1, 2, 1].index(1, 1) }} {{ [1, 2, 1].index(1, -1) }}", "{{ [1, 2].index(1, 1) }}",
    "{{ 1234.567|round(-2) }} {{ 1250|round(-2) }} {{ 1350|round(-2) }} {{ 1.5|round(2, 'ceil') }} {{ -7|round(-1) }}",
    "{{ 9223372036854775807 }} {{ 9223372036854775808 }} {{ -9223372036854775808 }} {{ 18446744073709551615|tojson }}",
    "{{ 0b11 }} {{ 0o17 }} {{ 0xFF }} {{ 0x_f }} {{ 1_000 }}", "{{ 1e400|tojson }}", "{{ 5.960464477539063e-08 }} {{ 5e-324 }}",
    "{{ 18446744073709551616 == 18446744073709551616.0 }} {{ 18446744073709551615 == 18446744073709551616.0 }}",
    "{{ [18446744073709551615, 5, -18446744073709551615, 2.5]|sort }} {{ 18446744073709551615 < 1e400 }}",
    "{{ '18446744073709551615'|int }} {{ 1e19|int }} {{ '1_0'|int }} {{ '_1'|int(7) }} {{ 'inf'|int(5) }} {{ 'nan'|int }}",
    "{{ '0x1f'|int(base=16) }} {{ '0b11'|int(0, 2) }} {{ '0o7'|int(0, 0) }} {{ '017'|int(9, 0) }} {{ '1__0'|int }}",
    "{{ 9007199254740993 == 9007199254740992.0 }}", "{{ 0 ** -1 }}", "{{ 10.0 ** 400 }}", "{{ 1e308 * 10 }}",
    f"{{% for g in {ROWS}|groupby('a', 'q') %}}{{{{ g.grouper }}}}={{{{ g.list|length }}}}{{{{ g[0] }}}};{{% endfor %}}",
    f"{{% for k, v in ({ROWS})[:3]|groupby('a', case_sensitive=true) %}}{{{{ k }}}}{{{{ v }}}};{{% endfor %}}",
    f"{{{{ ({ROWS})[:3]|sort(attribute='a,b')|map(attribute='b')|list }}}}", "{{ [[1, 2], [1, 3]]|groupby(0) }}",
    "{{ 'a b/ü&?~'|urlencode }} {{ {'a b': 'c/d', 'x': 1}|urlencode }} {{ [('a', 1), ('b', 'ü')]|urlencode }}",
    "{{ 'Hello, wörld_1 2²  foo-bar'|wordcount }} {{ ''|wordcount }}", "{{ {'a b': 1}|xmlattr }}",
    "<a{{ {'class': 'my', 'm': none, 'id': '<1'}|xmlattr }}> {{ {'a': 1, 'b': 2}|xmlattr(false) }}",
    "{{ 1|filesizeformat }} {{ 999|filesizeformat }} {{ 1024|filesizeformat(true) }} {{ 1e28|filesizeformat }}",
    "{% set j = joiner() %}{% for x in [1, 2, 3] %}{{ j() }}{{ x }}{% endfor %}{% set j = joiner('|') %}{{ j() }}a{{ j() }}b",
    "{% set c = cycler('a', 'b') %}{{ c.next() }}{{ c.current }}{{ c.next() }}{{ c.next() }}{{ c.reset() }}{{ c.current }}",
    "{% set x = 1 %}{% block a %}[{{ x }}{% set x = 2 %}{{ x }}]{% endblock %}{{ x }}",
    "{% for i in [1, 2] %}{% block a %}[{{ i }}]{% endblock a %}{% endfor %}", "{% block a %}x{% endblock b %}",
    "{% for i in [1, 2] %}{% block a scoped %}[{{ i }}]{% endblock %}{% endfor %}",
    "{% autoescape false %}{{ '<' }}{% set q = 1 %}{% endautoescape %}{{ q }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}", "{% macro m(a) %}{{ a }}{{ varargs }}{% endmacro %}{{ m(1, 2) }}",
    "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, b=2) }}", "{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}",
    "{% macro m(a) %}{{ kwargs }}{% endmacro %}{{ m(1, b=2) }} {{ m.name }} {{ m.arguments }} {{ m.catch_kwargs }} {{ m }}",
    "{% macro m() %}x{% endmacro %}{% call m() %}y{% endcall %}",
    "{{ range(3) }} {{ range(1, 7, 2) }} {{ {'a': 1}.keys() }} {{ {'a': 1}.items() }} {{ namespace(a=1) }}",
    "{% for i in [1, 2] %}{{ loop }}{% endfor %}", "{{ range(3)|tojson }}", "{{ {}.keys()|tojson }}", "{{ (1, 2)|tojson }}",
    "{{ [1, 2, 3]|sum(start=1) }}", "{{ ['a']|sum(start='') }}", "{{ '\\x4' }}", "{{ '\\q' }}",
    "{{ 'ŉ'|upper }} {{ 'ΑΣ Σ ΑΣΑ'|lower }} {{ 'İ'|lower }} {{ 'ﬁx'|capitalize }} {{ 'ﬁ ǆß'|title }} {{ 'ﬁ ǆ'.title() }}",
    "{{ '²'.isdigit() }} {{ '²'.isdecimal() }} {{ 'Ⅷ'.isnumeric() }} {{ 'ª'.islower() }} {{ 'ª' is lower }} {{ 'aB'.swapcase() }}",
    "{{ 'a\\x0bb\\x0cc\\x1cd\\x85e\\u2028f\\r\\ng\\rh\\n'.splitlines() }} {{ 'a\\x0bb\\r\\n\\n'.splitlines(true) }}",
    "{{ ' a b  c '.rsplit(none, 1) }} {{ ' a b  c '.rsplit(none, 0) }} {{ ' é ü '.rsplit(none, 1) }} {{ '  '.rsplit(none, 2) }}",
    "{{ 'a\\tbc\\td'.expandtabs() }}|{{ 'a\\tbc\\n\\td'.expandtabs(4) }}|{{ 'Ab Cd'.istitle() }} {{ 'Ab cd'.istitle() }}",
]


def calls(seed, count):
    rng = random.Random(seed)
    made = list(CASES)
    for _ in range(count):
        value, arguments = rng.choice(VALUES), rng.choice(ARGUMENTS)
        kind = rng.randrange(3)
        if kind == 0:
            name = rng.choice(FILTERS)
            made.append(f"{{{{ (({value})|{name}({arguments}))|{'list' if name in LAZY else 'string'} }}}}")
        elif kind == 1:
            made.append(f"{{{{ ({value}) is {rng.choice(TESTS)}({arguments}) }}}}")
        else:
            made.append(f"{{{{ ({value}).{rng.choice(METHODS)}({arguments}) }}}}")
    return made
