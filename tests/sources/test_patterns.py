"""Patterns of adapters match what PEFT matches, in bounded time and memory, or are refused by name."""

from __future__ import annotations

import contextlib
import math
import pickle
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mergeometry import limits
from mergeometry.sources.expression import PatternError
from mergeometry.sources.patterns import PatternTable

_QUICK = 0.05
"""Processor seconds: 0.01 on an idle machine; a shared one is given some slack."""

NAMES = [
    *(f"model.layers.{layer}.self_attn.{kind}_proj" for layer in (0, 1, 9, 10, 31) for kind in "qkvo"),
    *(f"model.layers.{layer}.mlp.experts.{expert}.down_proj" for layer in (0, 11) for expert in (0, 7, 63)),
    *(f"encoder.layer.{layer}.{part}.dense" for layer in (0, 11) for part in ("intermediate", "attention.output")),
    *(f"transformer.h.{layer}.attn.c_attn" for layer in (0, 3)),
    "base.encoder.layer.0.attention.self.query",
    "down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_out.0",
    "single_transformer_blocks.7.norm.linear",
    "q_proj",
    "x.layers-q_proj",
    "lm_head",
]
# Of PEFT's documentation and tests, of diffusers, of adapters on the hub, and of what users write by hand.
PATTERNS = [
    "q_proj",
    "self_attn.q_proj",
    "model.layers.1.self_attn.k_proj",
    "^model.layers.0.self_attn.q_proj",
    "^layers.0.self_attn.q_proj",
    "layers.1",
    "lm_head",
    "to_out.0",
    r"^model.decoder.layers.\d+.self_attn.k_proj",
    r".*\.(q|k|v)_proj",
    r"model\.layers\.(?:0|1|31)\.self_attn\.[qk]_proj",
    r"model\.layers\.([0-9]|1[0-9])\..*",
    r".*layers\.[1-9]\d*\.mlp\.experts\.\d+\.down_proj$",
    r"^encoder\.layer\.\d{1,2}\.(attention\.)?(output|intermediate)\.dense$",
    r"(?:.*?(?:language|text).*?)?(?:.*?(?:self_attn|attention).*?)\.(?:q_proj|k_proj|v_proj)",
    r"h\.[^.]+\.attn\.c_attn",
    r"attn\d?\.to_(q|k|v|out\.0)",
    r"single_transformer_blocks\.\d+\.(norm\.linear|proj_mlp|proj_out)",
    r"\w+\.\w+",
    r"\bself_attn\b.*",
    r"q\_proj|k_proj",
    r"_proj",
    "a)|(model",
    "?:q_proj",
    "",
]
MONSTERS = [
    r"(a+)+",
    r"(a*)*b",
    r"(a|a)+",
    r"(a|aa)+b",
    r"(.*)*x",
    r"(.*a){20}",
    r".*.*.*.*.*x",
    "(a|a)" * 40 + "b",
    "a?" * 60 + "a" * 60,
    r"(?:a{0,50}){0,50}b",
    "((((((a{0,99}){0,99}){0,99}){0,99}){0,99}){0,99})",
    "((((((){999}){999}){999}){999}){999})",
    "(" * 500 + "a" + ")" * 500,
    r"(a)\1",
    r"(?=a)a",
    r"(?<=a)a",
    r"(?P<n>a)(?P=n)",
    r"(?i)a",
    r"(?#x)a",
    r"\bquery",
    r"a++",
    r"a{1000}",
    r"a{2,1}",
    r"a{x}",
    r"^*",
    r"a**",
    r"*",
    "[",
    "[]",
    "[z-a]",
    "[[a]",
    "[a--b]",
    ")",
    "a)(b",
    "a)|(b",
    "\\",
    "x" * 2_000,
    "." * 1_000,
    "[" + "a" * 1_000 + "]",
    "a|" * 500,
    "a{1000}" * 145,
    "[^a]{1000}" * 100,
    "(?:(?:a?){9}){9}" * 60,
    "(?:" + "abcdefghij" * 95 + "){1000}",
    "(?:.?.?){500}",
    "(?:(?:^|a)*$?){500}",
    "(?:a?){400}",
    r"(?:\w*\W*){200}",
    ".*" * 500,
    "[ab]*a[ab]{990}",
    "(?:[ab]*a[ab]{100}|[ab]*b[ab]{101}|.*a.{102}){4}",
    "|" * 1_000,
    "." * 700 + "x",
]


def python_matches(pattern: str, name: str) -> bool:
    return re.match(rf"(.*\.)?({pattern})$", name) is not None or pattern == name


def processor_seconds(pattern: str, name: str) -> float:
    """The least of a few times: a search for garbage, or another library's first use, is not the pattern's."""
    least = math.inf
    for _ in range(5):
        start = time.process_time()
        with contextlib.suppress(PatternError):
            PatternTable([pattern]).first(name)
        least = min(least, time.process_time() - start)
        if least < _QUICK:
            break
    return least


@pytest.fixture(scope="module", autouse=True)
def _imported() -> None:
    """Keep the import of RE2 out of what is timed."""
    PatternTable(["a+"]).first("a")


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_real_pattern_matches_as_in_peft(pattern: str) -> None:
    get_pattern_key = pytest.importorskip("peft.utils.other").get_pattern_key
    for name in NAMES:
        # PEFT returns the name itself where nothing matches.
        assert (PatternTable([pattern]).first(name) or name) == get_pattern_key([pattern], name)


def test_the_first_pattern_wins_as_in_peft() -> None:
    get_pattern_key = pytest.importorskip("peft.utils.other").get_pattern_key
    for patterns in (PATTERNS[:-1], PATTERNS[-2::-1]):
        table = PatternTable(patterns)
        found = [table.first(name) for name in NAMES]
        assert [pattern or name for pattern, name in zip(found, NAMES, strict=True)] == [
            get_pattern_key(patterns, name) for name in NAMES
        ]
        assert len(set(found)) > 5


def test_each_module_may_have_its_own_pattern() -> None:
    names = [f"model.layers.{layer}.self_attn.{kind}_proj" for layer in range(250) for kind in "qkvo"]
    table = PatternTable(names)
    assert [table.first(name) for name in names] == names


def test_a_large_mixture_of_experts_may_have_a_pattern_with_operators() -> None:
    names = [f"model.layers.{layer}.mlp.experts.{expert}.up_proj" for layer in range(48) for expert in range(128)]
    table = PatternTable([r"model\.layers\.\d+\.mlp\.experts\.\d+\.down_proj", r"layers\.4[0-7]\..*"])
    assert sum(table.first(name) is not None for name in names) == 8 * 128


@pytest.mark.parametrize(
    ("pattern", "reason"),
    [
        (r"q(?=_proj)", r"look-around, \(\?=, cannot"),
        (r"q(?!_proj)", r"look-around, \(\?!, cannot"),
        (r"(?<=q)_proj", r"look-around, \(\?<=, cannot"),
        (r"(?<!q)_proj", r"look-around, \(\?<!, cannot"),
        (r"(q)\1", r"a back-reference, \\1, cannot"),
        # RE2 reads an octal number here.
        ("(q)" * 12 + r"\12", r"a back-reference, \\1, cannot"),
        (r"(?P=name)", r"a back-reference, \(\?P=name\), cannot"),
        (r"(?P<name>q)", r"begin with \(\?P<"),
        (r"(?i:q)", r"begin with \(\?i"),
        (r"(?i)q", r"begin with \(\?i"),
        ("?i", r"begin with \(\?i"),
        (r"(?>q)", r"begin with \(\?>"),
        (r"(?#q)", r"begin with \(\?#"),
        ("q{,2}", "braces"),
        ("q{02}", "braces"),
        ("q{x}", "braces"),
        ("q{99999999999}", "braces"),
        ("q{2,1}", r"invalid repetition size \{2,1\}"),
        ("q{1001}", r"invalid repetition size \{1001\}"),
        ("[[:alpha:]]", "character class"),
        ("[a--b]", "character class"),
        (r"[\w-a]", "character class"),
        ("[a", "character class"),
        ("[b-a]", "range b-a"),
        ("^*", r"a position, \^, cannot be repeated"),
        (r"\b+", r"a position, \\b, cannot be repeated"),
        (r"\x41", r"the escape \\x"),
        (r"\pL", r"the escape \\p"),
        (r"\Z", r"the escape \\Z"),
        ("q**", r"bad repetition operator \*\*"),
        ("q++", r"bad repetition operator \+\+"),
        ("*q", r"no argument for repetition operator \*"),
        ("(q", r"missing \)"),
        ("q)", r"unexpected \)"),
        ("q\\", r"missing \)"),
        ("é+", "beyond ASCII"),
        ("\ud800+", "beyond ASCII"),
        ("(?:" + "abcdefghij" * 95 + "){100}", "too large"),
        ("q" * (limits.PATTERN_CHARACTERS + 1), "1,025 characters; at most 1,024"),
        ("(?:ab){300}", "too many steps on a name of 1,000 characters"),
    ],
)
def test_what_is_not_understood_is_named(pattern: str, reason: str) -> None:
    with pytest.raises(PatternError, match=f"^the pattern .* is refused: .*{reason}") as caught:
        PatternTable([pattern]).first("q" * 1_000)
    assert caught.value.pattern == pattern
    assert len(str(caught.value)) < 200
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)


@pytest.mark.parametrize("name", ["naïve.q", "q٣", "q\x1c", "q\ud800", "q\n"])
def test_names_that_the_engines_read_differently_are_refused(name: str) -> None:
    with pytest.raises(PatternError, match=r"line break|beyond printable ASCII"):
        PatternTable([r"q\w"]).first(name)


def test_a_pattern_without_operators_may_be_in_any_script() -> None:
    table = PatternTable(["^модель.слой", "слой.0", "層.query"])
    assert table.first("модель.слой") == "^модель.слой"
    assert table.first("x.модель.слой") is None
    assert table.first("модель.слойx0") == "слой.0"
    assert table.first("a.層.query") == "層.query"
    with pytest.raises(PatternError, match="line break"):
        table.first("слой.0\n")


atoms = st.sampled_from(
    ["a", "b", ".", r"\.", r"\d", r"\w", r"\s", r"\D", r"\b", "[ab]", "[^a]", "^", "$", "0", "-", "[]a]", r"[\w.]"]
)
benign = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3).map("".join),
        st.tuples(inner, inner).map("|".join),
        inner.map(lambda text: f"({text})"),
        inner.map(lambda text: f"(?:{text})"),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{0,2}", "{1,}", "*?", "??"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        inner.map(lambda text: text + ")|(" + text),
    ),
    max_leaves=6,
)
symbols = st.text(alphabet="ab.*+?{}()[]|^$\\0129,-&~:=!<>PiZz_ dDswWbB#", max_size=12)
names = st.text(alphabet="ab.0- _[]{}2", max_size=8)


@settings(max_examples=500, deadline=2_000)
@given(pattern=benign, name=names)
def test_a_benign_pattern_matches_as_in_python(pattern: str, name: str) -> None:
    assert (PatternTable([pattern]).first(name) is not None) == python_matches(pattern, name)


# Python warns of classes that a later version may read in another way; none of them may be accepted.
@pytest.mark.filterwarnings("error::FutureWarning")
@settings(max_examples=1_000, deadline=2_000)
@given(pattern=symbols | st.text(max_size=12), name=names | st.text(max_size=8))
def test_any_pattern_matches_as_in_python_or_is_refused(pattern: str, name: str) -> None:
    try:
        matched = PatternTable([pattern]).first(name) is not None
    except PatternError:
        return
    assert matched == python_matches(pattern, name)


@pytest.mark.parametrize("pattern", MONSTERS)
@pytest.mark.parametrize("name", ["a" * 40, "a" * 500, "ab" * 500, ".a" * 500, "." * 1_000, "encoder.layer.0.query"])
def test_no_pattern_costs_more_than_milliseconds(pattern: str, name: str) -> None:
    assert processor_seconds(pattern, name) < _QUICK


hostile = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^a]", r"\w", "^", "$", ".*", "a?", "(?:a|ab|b)", ""]),
    lambda inner: st.one_of(
        st.lists(inner, min_size=2, max_size=4).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{30}", "{0,99}", "{500}", "{999,}"])).map(
            lambda pair: f"(?:{pair[0]}){pair[1]}"
        ),
        st.tuples(inner, st.integers(2, 100)).map(lambda pair: (pair[0] * pair[1])[: limits.PATTERN_CHARACTERS]),
    ),
    max_leaves=10,
)


@settings(max_examples=400, deadline=2_000)
@given(pattern=hostile, unit=st.text(alphabet="ab.", min_size=1, max_size=5), length=st.integers(1, 1_024))
def test_no_hostile_pattern_costs_more_than_milliseconds(pattern: str, unit: str, length: int) -> None:
    name = (unit * length)[:length]
    # The least of three: a shared machine may be slow once.
    assert processor_seconds(pattern, name) < _QUICK


def run(program: str) -> str:
    return subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout


def test_many_patterns_hold_little_memory() -> None:
    program = """
import resource, sys
from mergeometry.sources.expression import PatternError
from mergeometry.sources.patterns import PatternTable

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // (1024 if sys.platform == "darwin" else 1)

# Each builds as many states as it may.
table = PatternTable(f"[ab]*a[ab]{{12}}z{number}" for number in range(10_000))
name = "".join("ab"[bin(number).count("1") % 2] for number in range(1_000))
before = peak()
try:
    table.first(name)
except PatternError as error:
    print(str(error).endswith("takes too many steps"), (peak() - before) // 1024)
"""
    refused, megabytes = run(program).split()
    assert refused == "True"
    assert int(megabytes) < 200


def test_only_operators_cost_the_import_of_the_engine(tmp_path: Path) -> None:
    program = """
import sys
from mergeometry.sources.patterns import PatternTable
PatternTable(["^model.layers.0.q_proj", "q-proj"]).first("model.layers.0.q_proj")
print("re2" in sys.modules)
PatternTable([r"layers\\.\\d+"]).first("layers.0")
print("re2" in sys.modules)
"""
    assert run(program).split() == ["False", "True"]
