"""Random chat templates for make_chat_fixtures.py: expressions and statements of every kind in unlikely neighbourhoods."""

import random

NUMBERS = ["0", "1", "2", "7", "-3", "1.5", "0.25", "2.0", "1e3"]
TEXTS = ["'a'", "'Ab c'", "''", "'x,y,z'", "' p '", "'é🦙'", "'12'", "'3.5'", "'a\\nb'", '"it\'s"']
NAMES = ["true", "false", "none", "undef", "x", "messages", "messages[0].role", "messages[1]['content']",
         "messages|length", "messages[-1]"]
FILTERS = ["trim", "upper", "lower", "title", "capitalize", "length", "string", "list", "first", "last", "join(',')",
           "join", "reverse|list", "sort", "unique|list", "tojson", "tojson(indent=2)", "int", "float", "abs",
           "default('D')", "default('D', true)", "replace('a', 'Z')", "indent(2)", "select|list", "reject('none')|list",
           "map('string')|list", "map('upper')|join('-')", "items|list", "dictsort", "batch(2)|list", "round", "round(1)",
           "min", "max", "sum", "count", "sort(reverse=true)", "format(1, 'b')", "format('c')", "center(7)", "slice(2)|list",
           "string|truncate(4, leeway=0)", "string|truncate(*[3, true, '', 0])"]
TESTS = ["defined", "undefined", "none", "string", "number", "integer", "float", "mapping", "sequence", "iterable",
         "boolean", "true", "false", "odd", "even", "lower", "upper", "eq(1)", "in([1, 'a'])", "divisibleby 2", "ne 'a'",
         "gt 1", "sameas none", "callable"]
METHODS = ["strip()", "split()", "split(',')", "upper()", "lower()", "title()", "capitalize()", "startswith('a')",
           "endswith('c')", "replace('a', 'b')", "lstrip()", "rstrip('c ')", "splitlines()", "find('b')", "count('a')",
           "isdigit()", "isalpha()", "islower()", "isupper()", "get('a')", "get('b', 1)", "items()|list", "keys()|list",
           "values()|list", "role", "rsplit(',', 1)", "split(none, 1)", "a", "isspace()", "isalnum()",
           "join(['a', 'b'])", "rfind('b')", "center(5)", "ljust(4, '.')", "rjust(3)", "zfill(4)", "partition('b')",
           "rpartition(',')", "split(*[','])"]
PERCENTS = ["%s", "%r", "%a", "%5s|", "%-4s|", "%.1s", "%d", "%05d", "%+d", "% d", "%x", "%#o", "%.2f", "%8.3e", "%g", "%c", "%i%%",
            "%.3d", "%#X", "%-7.1f|", "%G"]
SPECS = ["", "5", "<6", ">4", "^7", "*^5", "05", "+", " ", ",", "_", "d", "x", "#b", "o", "c", ".2f", "8.3f", "e", "g", "%", ".1%",
         ",.2f", "010.2f", ".3", ".1", "#X", "=+6", "08,", "n", "é>4", "s", ".2s"]
ITEMS = ["0", "-1", "1", "'a'", "1:", ":2", "::-1", "0:2", "-2:", "::2"]
HTML = ["('<b>'|safe)", "('a & b'|e)", "(' <i>\\n %s</i> '|safe)", "('{}<{!r}'|safe)", "(messages[0].content|e)", "(''|safe)",
        "(['<', 2]|e)", "('&lt;p&gt; <!-- c --> &eacute;&#x41;;<br>'|safe)", "('12'|safe)", "'<&\\'>\"'", "'<i>'", "messages[1].content"]
HTML_FILTERS = ["safe", "e", "escape", "forceescape", "string", "upper", "lower", "title", "capitalize", "trim", "trim('<')", "center(20)",
                "indent", "indent('>', true)", "truncate(5, leeway=0)", "truncate(6, true, '<', 0)", "reverse", "first", "last", "list",
                "default('<')", "replace('<', '>')", "join('<')", "urlencode", "length", "tojson", "format('<', 2)", "map('e')|join",
                "select('escaped')|list", "sort", "unique|list", "batch(3)|list", "int", "float", "wordcount", "striptags",
                "wordwrap(6)", "wordwrap(5, false, '<')", "urlize", "pprint"]
HTML_METHODS = ["upper()", "swapcase()", "title()", "strip()", "lstrip('<')", "rstrip('> ')", "split()", "split('<')", "rsplit(';', 1)",
                "splitlines()", "splitlines(true)", "partition('<')", "rpartition(';')", "removeprefix('<')", "removesuffix('>')",
                "center(9, '*')", "ljust(9, '<')", "rjust(9)", "zfill(9)", "expandtabs(2)", "find('b')", "count('<')", "isupper()",
                "startswith('<')", "join(['<', 2, '>'|safe])", "join(['<', '>'])", "replace('b', '<')", "replace('i', '<'|safe)",
                "format('<', '>')", "format('<'|safe, ['>'|safe])", "escape('<')", "striptags()", "unescape()", "casefold()", "capitalize()"]
HTML_FORMATS = ["%s", "%r", "%a", "%9s", "%-9s", "%.3s", "%s%%", "<%s>"]
HTML_FIELDS = ["{}", "{!r}", "{!s}", "{!a}", "{:}", "<{}>", "{!s:>9}"]
SPACES = ["", " ", "\n", "  ", "\n  ", "x", "\t", "\n\n"]


class Maker:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def pick(self, rows):
        return self.rng.choice(rows)

    def atom(self, depth):
        inner = lambda most: [self.expression(depth - 1) for _ in range(self.rng.randint(0, most))]
        kind = self.rng.randint(0, 5)
        if kind == 0:
            return "[" + ", ".join(inner(3)) + "]"
        if kind == 1:
            return "{" + ", ".join(f"{self.pick(TEXTS)}: {value}" for value in inner(2)) + "}"
        return self.pick(self.pick([NUMBERS, TEXTS, NAMES]))

    def expression(self, depth):
        if depth <= 0:
            return self.pick(NUMBERS + TEXTS + NAMES)
        inner = lambda: self.expression(depth - 1)
        return [
            lambda: self.atom(depth),
            lambda: f"({inner()} {self.pick(['+', '-', '*', '/', '//', '~', '~', '+'])} {inner()})",
            lambda: f"({inner()})|{self.pick(FILTERS)}",
            lambda: f"({inner()} is {self.pick(['', 'not '])}{self.pick(TESTS)})",
            lambda: f"({inner()}).{self.pick(METHODS)}",
            lambda: f"({inner()} {self.pick(['==', '!=', '<', '<=', '>', '>=', 'in', 'not in'])} {inner()})",
            lambda: f"({inner()} {self.pick(['and', 'or'])} {inner()})",
            lambda: f"({inner()} if {inner()} else {inner()})",
            lambda: f"({inner()})[{self.pick(ITEMS)}]",
            lambda: f"not {inner()}",
            lambda: f"{inner()} {self.pick(['+', '-', '~', '*', '%', '**'])} {self.rng.randint(1, 3)}",
            lambda: f"('{self.pick(PERCENTS)} {self.pick(PERCENTS)}' % ({inner()}, {inner()}))",
            lambda: f"'{{:{self.pick(SPECS)}}}{{:{self.pick(SPECS)}}}'.format({inner()}, {inner()})",
        ][self.rng.randint(0, 12)]()

    def html(self, depth):
        """Texts marked as HTML beside those that are not, in all that may be done to texts."""
        if depth <= 0:
            return self.pick(HTML)
        inner = lambda: self.html(depth - 1)
        form = lambda rows: f"('{self.pick(rows)}&{self.pick(rows)}'{self.pick(['', '|safe', '|safe', '|e'])})"
        return [
            lambda: f"({inner()} {self.pick('++~')} {inner()})",
            lambda: f"({inner()} * 2)",
            lambda: f"({inner()}|{self.pick(HTML_FILTERS)})",
            lambda: f"{inner()}.{self.pick(HTML_METHODS)}",
            lambda: f"{inner()}[{self.pick(ITEMS)}]",
            lambda: f"({form(HTML_FORMATS)} % ({inner()}, {inner()}))",
            lambda: f"{form(HTML_FIELDS)}.format({inner()}, {inner()})",
            lambda: f"({inner()}|join({inner()}))",
            lambda: f"{inner()}.join([{inner()}, {inner()}])",
            lambda: f"[{inner()}, {inner()}]|{self.pick(['join', 'first', 'last', 'e', 'string', 'list', 'sort', 'max', 'sum'])}",
            lambda: f"{{'a': {inner()}, {self.pick(HTML)}: 1}}|{self.pick(['xmlattr', 'e', 'items|list', 'dictsort', 'string', 'pprint'])}",
            lambda: f"({inner()} {self.pick(['==', '!=', '<', 'in', 'is sameas', 'is eq'])} {inner()})",
        ][self.rng.randint(0, 11)]()

    def tag(self, words):
        begin, end = self.pick(["{%", "{%-", "{%+"]), self.pick(["%}", "-%}", "+%}"])
        return f"{self.pick(SPACES)}{begin} {words} {end}{self.pick(SPACES)}"

    def output(self, words):
        begin, end = self.pick(["{{", "{{-"]), self.pick(["}}", "-}}"])
        return f"{self.pick(SPACES)}{begin} {words} {end}{self.pick(SPACES)}"

    def statement(self, depth):
        kind = self.rng.randint(0, 8) if depth > 0 else 0
        inner = lambda: self.statement(depth - 1)
        if kind == 3:
            return self.tag(f"if {self.expression(2)}") + inner() + self.tag("else") + inner() + self.tag("endif")
        if kind == 4:
            loop = self.output("loop.index ~ loop.last")
            return self.tag(f"for x in {self.expression(2)}") + inner() + loop + self.tag("endfor")
        if kind == 5:
            return self.tag(f"set x = {self.expression(2)}") + inner()
        if kind == 6:
            return self.tag("set y") + inner() + self.tag("endset") + self.output("y")
        if kind == 7:
            macro = self.tag(f"macro m(x, y={self.expression(1)})") + inner() + self.tag("endmacro")
            return macro + self.output(f"m({self.expression(1)})")
        if kind == 8:
            again = self.output("loop(x) if x is iterable and x is not string and loop.depth < 4")
            return self.tag(f"for x in {self.expression(2)} recursive") + inner() + again + self.tag("endfor")
        return self.output(self.expression(self.rng.randint(1, 3)))


def templates(seed, count):
    maker = Maker(seed)
    return [maker.statement(3) + maker.statement(2) for _ in range(count)]


def html_templates(seed, count):
    """Printed in a list, which shows how each is marked."""
    maker = Maker(seed)
    return [f"{{{{ [{maker.html(maker.rng.randint(1, 4))}] }}}}" for _ in range(count)]
