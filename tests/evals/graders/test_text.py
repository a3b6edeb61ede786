import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError
from ftjobs.evals.graders import contains, exact, normalised, regex
from ftjobs.evals.graders.normal import _begins, is_spaceless, nfc, normal, words
from tests.evals.graders.marking import score


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        ("Paris", "Paris", 1),
        (" Paris\n", "Paris", 1),
        ("paris", "Paris", 0),
        ("", "Paris", 0),
        ("営業時間は10時からです。", "営業時間は10時からです。", 1),
        ("ガラス", unicodedata.normalize("NFD", "ガラス"), 1),
        ("ｶﾞﾗｽ", "ガラス", 0),
    ],
)
def test_exact(answer: str, expected: str, right: float) -> None:
    assert score(exact(), answer, expected) == right


SAME = [
    ("Paris.", "paris"),
    ("  New\n York ", "new york"),
    ("**Paris**", "Paris"),
    ("It is **(A)** *the* **2** _cities_!", "It is (A) the 2 cities"),
    ("これは**東京**です", "これは東京です"),
    ("-$5", "$-5"),
    ("2 * x**2", "2*x²"),
    ("(a+b) / 2", "(a+b)/2"),
    ("x≠3", "x != 3"),
    ("Wow!!", "wow"),
    ("- $5\n- $6", "$5, $6"),
    ("and / or", "and/or"),
    ("Well-known e-mail - yes", "well known E mail, yes"),
    ("－", "-"),
    ("…", "..."),
    ("Paris — a city —", "Paris: a city"),
    ("-Paris\n-London", "Paris, London"),
    ("5/km", "5 / km"),
    ("don’t", "don't"),
    ("STRASSE", "straße"),
    ("３ｋｇ", "3 kg"),
    ("ﾌﾟﾛｸﾞﾗﾑ", "プログラム"),
    ("コ-ヒ−", "コーヒー"),
    ("「東京」です。", "東京 です"),
    ("ジョン・スミス", "ジョン スミス"),
    ("１，０００円", "1000円"),
    ("－３", "-3"),
    ("−3", "-3"),
    ("10〜18時", "10～18時"),
    ("03ー1234", "03-1234"),
    ("x²", "x^2"),
    ("A\u200bB\ufe0f", "ab"),
    ("ﬁne", "fine"),
    ("\u202eשלום\u202c", "שלום"),
]
DIFFERENT = [
    ("1.5", "15"),
    ("1,5", "15"),
    ("-3", "3"),
    ("−3", "3"),
    (".5", "5"),
    ("~5", "5"),
    ("3 4", "34"),
    ("10:30", "1030"),
    ("1/2", "12"),
    ("10²", "102"),
    ("1e-5", "1e5"),
    ("-$5", "$5"),
    ("−￥1,200", "￥1,200"),
    ("-x + 1", "x + 1"),
    ("A-", "A"),
    ("評価はB−です", "評価はBです"),
    ("BBB-", "BBB+"),
    ("−√2", "√2"),
    ("x != 3", "x = 3"),
    ("a*b", "a b"),
    ("n/2", "n*2"),
    ("n*2", "n**2"),
    ("(a+b)/2", "(a+b) 2"),
    ("50٪", "50"),
    ("1½", "11/2"),
    ("50%", "50"),
    ("$5", "5"),
    ("C#", "C"),
    ("C++", "C"),
    ("now here", "nowhere"),
    ("ビール", "ビル"),
    ("ネコ", "ねこ"),
    ("は", "ば"),
    ("...", "!!!"),
    ("", "。"),
    ("café", "cafe"),
    ("हिन्दी", "हनद"),
]


@pytest.mark.parametrize(("one", "other"), SAME)
def test_what_is_the_same(one: str, other: str) -> None:
    assert score(normalised(), one, other) == score(normalised(), other, one) == 1


@pytest.mark.parametrize(("one", "other"), DIFFERENT)
def test_what_is_not_the_same(one: str, other: str) -> None:
    assert score(normalised(), one, other) == score(normalised(), other, one) == 0


@given(st.text())
def test_the_normal_form_of_what_has_words_is_its_own_normal_form(text: str) -> None:
    form = normal(text)
    if any(character.isalnum() for character in form):
        assert normal(form) == form


@given(st.text(alphabet="aé１２.,:/-~ー〜コ東% '’()「」\u0301", max_size=12))
def test_width_and_surrounding_punctuation_never_count(text: str) -> None:
    if any(character in text for character in "aé１コ東"):
        assert normal(f"「{text}」。") == normal(text)
        assert normal(unicodedata.normalize("NFKC", text)) == normal(text)


@given(st.integers(), st.integers())
def test_two_numbers_are_the_same_only_if_they_are(one: int, other: int) -> None:
    for written in (f"{one}", f"{one:,}", f" {one}.", f"「{one}」"):
        assert (normal(written) == normal(str(other))) == (one == other)


@pytest.mark.parametrize(
    ("answer", "expected", "right"),
    [
        ("The capital is Paris.", "paris", 1),
        ("party", "art", 0),
        ("It is 2015.", "15", 0),
        ("It is 1.5.", "5", 0),
        ("It is -3.", "3", 0),
        ("It is 3!", "3", 1),
        ("It is not Paris.", "Paris", 1),
        ("It is B, a city.", "A", 1),
        ("It is 50%.", "50", 1),
        ("東京都", "京都", 1),
        ("営業時間は１０時からです。", "10時", 1),
        ("「東京、」です", "東京です", 1),
        ("new\nYork", "New York", 1),
        ("...", "...", 1),
        ("anything", "", None),
    ],
)
def test_contains(answer: str, expected: str, right: float | None) -> None:
    assert score(contains(), answer, expected) == right


@pytest.mark.parametrize(
    ("pattern", "answer", "right"),
    [
        (r"^\d+$", " 42\n", 1),
        (r"^\d+$", "４２", 1),
        (r"^\d+$", "42 apples", 0),
        ("(?i)paris", "It is PARIS.", 1),
        ("^b$", "a\nb", 0),
        ("(?m)^b$", "a\nb", 1),
        ("a.c", "a\nc", 0),
        ("ガ", unicodedata.normalize("NFD", "ガ"), 1),
        ("^a.c$", "a\ud800c", 1),
    ],
)
def test_regex(pattern: str, answer: str, right: float) -> None:
    assert score(regex(pattern), answer) == right


@pytest.mark.parametrize("pattern", ["", "(", "(?=a)", r"(a)\1", "a{100000000}", r"\p{Nonsense}"])
def test_a_pattern_that_cannot_be_used(pattern: str) -> None:
    with pytest.raises(ConfigError, match="pattern"):
        regex(pattern)


def test_words_are_those_of_rouge_in_english_and_characters_in_japanese() -> None:
    assert words("It's 3.5 – the END_of x2!") == ["it", "s", "3", "5", "the", "end", "of", "x2"]
    assert words("東京はｶﾞ") == ["東", "京", "は", "ガ"]
    assert words("…!?") == []


def test_scripts_without_spaces() -> None:
    assert is_spaceless("これは Python")
    assert is_spaceless("ไทย")
    assert not is_spaceless("Das ist Python. 한국어 шло")


# --- normal forms piece by piece --------------------------------------------------------------


@given(st.text(alphabet="a é\u0301\u0316\u0f73각\u1100\u1161\u11a8ｶﾞ東", max_size=300))
def test_pieces_make_the_same_form_as_the_whole(text: str) -> None:
    assert nfc(text) == unicodedata.normalize("NFC", text).strip()


def test_no_cut_parts_what_combines() -> None:
    assigned = [chr(c) for c in range(0xE0200) if unicodedata.category(chr(c)) not in ("Cn", "Co")]
    before = {character for character in assigned if _begins(character)}
    assert len(before) > 100_000
    parts = [unicodedata.decomposition(character).split() for character in assigned]
    canonical = [each for each in parts if len(each) == 2 and not each[0].startswith("<")]
    assert not before & {chr(int(second, 16)) for _, second in canonical}
    assert not before & {*map(chr, (*range(0x1161, 0x1176), *range(0x11A8, 0x11C3)))}
    assert not any(unicodedata.combining(unicodedata.normalize("NFKD", c)[0]) for c in before)
