"""Patterns are those of JavaScript, with the flag that JSON Schema asks for."""

import pytest

from agentrun.ecma import compiled


@pytest.mark.parametrize(
    ("pattern", "text", "other"),
    [
        pytest.param(r"^\p{L}[\w-.]*$", "Éa-.", "1", id="hyphen-after-a-set"),
        pytest.param(r"^[.-\d]+$", "-1.", "/", id="hyphen-before-a-set"),
        pytest.param(r"^[\p{Lu}-z]+$", "A-z", "b", id="hyphen-after-a-property"),
        pytest.param(r"^[a-c-\d]+$", "b-1", "d", id="hyphen-after-a-range"),
        pytest.param(r"^[^\s-]+$", "ab", "a-b", id="hyphen-at-the-end"),
        pytest.param(r"^[\u0041-\u0043\x44-\x45]+$", "AE", "F", id="ranges-of-escapes"),
        pytest.param(r"^[\]\-a-z]+$", "b-]", "A", id="escaped-hyphen"),
        pytest.param(r"^\p{Script=Greek}$", "π", "p", id="script"),
        pytest.param(r"^\P{L}$", "1", "a", id="no-letter"),
        pytest.param(r"^(?<year>\d{4})-\k<year>$", "1999-1999", "1999-2000", id="named-group"),
        pytest.param(r"^\u{1F600}$", "\U0001f600", "u", id="code-point"),
        pytest.param(r"^\ud83d\ude00$", "\U0001f600", "u", id="surrogate-pair"),
        pytest.param(r"^.$", "\U0001f600", "\n", id="any-character"),
        pytest.param(r"^\d$", "1", "\u0663", id="digits-are-ascii"),
        pytest.param(r"^\w$", "a", "é", id="words-are-ascii"),
        pytest.param(r"^a$", "a", "a\n", id="end-is-the-end"),
        pytest.param(r"^\/\-\_\@\"\ $", '/-_@" ', "/", id="needless-escapes"),
        pytest.param(r"^{.*}]$", "{x}]", "{x", id="literal-brackets"),
        pytest.param(r"^a{2,3}b{2}c{1,}$", "aabbc", "abbc", id="quantifiers"),
        pytest.param(r"(?=a)b|^(?!x)y", "y", "x", id="lookaheads"),
        pytest.param(r"(?<=a)b(?<!c)", "ab", "cb", id="lookbehinds"),
    ],
)
def test_a_pattern_means_what_it_means_in_javascript(pattern: str, text: str, other: str) -> None:
    assert compiled(pattern).find(text)
    assert not compiled(pattern).find(other)


@pytest.mark.parametrize(
    "pattern",
    ["(", "[a", "a{,3}", r"\Aa\Z", "(?P<a>x)", "(?i)x", "(?#x)", r"\p{Foo}", r"\pL", "*", "[z-a]",
     "\\", "[\\", "\ud800", r"\u12", r"\1"],
)  # fmt: skip
def test_what_means_nothing_or_something_else_in_javascript_is_refused(pattern: str) -> None:
    with pytest.raises(ValueError, match="is not a regular expression of JavaScript"):
        compiled(pattern)
