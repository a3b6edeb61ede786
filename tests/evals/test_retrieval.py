import gzip
import json
import math
import os
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ftjobs.errors import ConfigError, DatasetError
from ftjobs.evals import passages
from ftjobs.evals.passages import HEADING, LENGTH, cut, read_passages
from ftjobs.evals.retrieval import Documents, tokens
from ftjobs.schema import ChatMessage


def folder(place: Path, files: dict[str, str | bytes]) -> Path:
    for name, content in files.items():
        path = place / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return place


def names(place: Path) -> list[str]:
    return [passage.name for passage in read_passages(place)[0]]


# --- words --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The shop's HOURS: 9-17", ["the", "shop", "s", "hours", "9", "17"]),
        ("ＡＢＣ ﾎﾟｲﾝﾄ", ["abc", "ポイ", "イン", "ント"]),
        ("東京都のIDは", ["東京", "京都", "都の", "id", "は"]),
        ("猫 and 犬", ["猫", "and", "犬"]),
        ("snake_case", ["snake", "case"]),
        ("naïve Straße", ["naïve", "strasse"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("한국어", ["한국", "국어"]),
        ("… --- 🙂", []),
    ],
)
def test_words(text: str, words: list[str]) -> None:
    assert list(tokens(text)) == words


# --- finding ------------------------------------------------------------------------------------

HANDBOOK: dict[str, str | bytes] = {
    "leave.md": "Leave is twenty-five days.\n\nUnused leave ends in March.",
    "shop/hours.txt": "The shop opens at nine and closes at five.",
    "shop/returns.html": "<h1>Returns</h1><p>Bring the <b>receipt</b> within a month.</p>",
    "jp/店.md": "直営店の定休日は、毎月第2火曜日です。",
    "jp/本社.md": "本社は霧見野市にあります。",
}


@pytest.mark.parametrize(
    ("question", "name"),
    [
        ("How many days of leave do I have?", "leave.md"),
        ("When does the SHOP open?", "shop/hours.txt"),
        ("Do I need a receipt?", "shop/returns.html"),
        ("定休日を教えてください。", "jp/店.md"),
        ("本社はどこですか", "jp/本社.md"),
    ],
)
def test_the_passage_that_answers_comes_first(tmp_path: Path, question: str, name: str) -> None:
    documents = Documents.read(folder(tmp_path, HANDBOOK))
    assert documents.found(question)[0].name == name
    assert documents.files == 5


def test_nothing_fits_a_question_without_a_known_word(tmp_path: Path) -> None:
    documents = Documents.read(folder(tmp_path, HANDBOOK))
    for question in ("", "zzz", "🙂"):
        assert documents.found(question) == []
        asked = (ChatMessage(role="user", content=question),)
        assert documents.shown(asked) == asked


def test_of_equal_passages_the_first_in_the_folder_wins(tmp_path: Path) -> None:
    place = folder(tmp_path, {f"{n:02}.txt": "open at nine" for n in reversed(range(30))})
    documents = Documents.read(place, passages=3)
    assert [each.name for each in documents.found("nine")] == ["00.txt", "01.txt", "02.txt"]


def test_scores_are_those_of_the_formula(tmp_path: Path) -> None:
    """Against BM25 written out: Lucene's idf, k1 = 1.5, b = 0.75."""
    texts = ["a b b c", "a a d", "c c c c e f", "b d d"]
    place = folder(tmp_path, {f"{n}.txt": text for n, text in enumerate(texts)})
    documents = Documents.read(place, passages=9)
    split = [text.split() for text in texts]
    mean = sum(map(len, split)) / len(split)

    def score(question: str, words: list[str]) -> float:
        total = 0.0
        for word in question.split():
            having = sum(word in each for each in split)
            idf = math.log(1 + (len(split) - having + 0.5) / (having + 0.5))
            often = Counter(words)[word]
            total += idf * often / (often + 1.5 * (0.25 + 0.75 * len(words) / mean))
        return total

    for question in ("a", "b c", "d d a", "e b f"):
        ranked = sorted(range(4), key=lambda n: -score(question, split[n]))
        expected = [f"{n}.txt" for n in ranked if score(question, split[n]) > 0]
        assert [each.name for each in documents.found(question)] == expected


def test_the_last_question_of_the_user_is_looked_for(tmp_path: Path) -> None:
    documents = Documents.read(folder(tmp_path, HANDBOOK), passages=1)
    messages = [
        ChatMessage(role="user", content="When does the shop open?"),
        ChatMessage(role="assistant", content="At nine."),
        ChatMessage(role="user", content=({"type": "text", "text": "And days of leave?"},)),
        ChatMessage(role="assistant", tool_calls=({"id": "1"},)),
        ChatMessage(role="tool", content="receipt", tool_call_id="1"),
    ]
    shown = documents.shown(messages)
    assert [*shown[:2], *shown[3:]] == [*messages[:2], *messages[3:]]
    content = shown[2].content
    assert isinstance(content, tuple)
    first, second = content
    assert "[1] leave.md\nLeave is twenty-five days." in first["text"]
    assert second == {"type": "text", "text": "And days of leave?"}


def test_the_same_documents_give_the_same_bytes(tmp_path: Path) -> None:
    asked = [ChatMessage(role="user", content="shop leave receipt 定休日")]
    one = Documents.read(folder(tmp_path / "one", HANDBOOK)).shown(asked)
    other = Documents.read(folder(tmp_path / "two", dict(reversed(HANDBOOK.items()))))
    assert other.shown(asked) == one
    assert str(one[0].content).endswith("\n\n---\n\nshop leave receipt 定休日")


def test_a_training_file_can_be_searched(tmp_path: Path) -> None:
    rows = (
        '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Opening?"},'
        ' {"role": "assistant", "content": "At nine."}]}\n'
        '{"text": "The cellar floods."}\n{"content": "Mind the step."}\n'
    )
    path = folder(tmp_path, {"train.jsonl": rows}) / "train.jsonl"
    found, files = read_passages(path)
    texts = ["user: Opening?\nassistant: At nine.", "The cellar floods.", "Mind the step."]
    assert ([each.text for each in found], files) == (texts, 1)


def test_the_prompts_are_no_documents(tmp_path: Path) -> None:
    row = '{"prompt": "Opening?", "expected": "At nine."}\n'
    place = folder(tmp_path, {"eval.jsonl": row, "a.md": "Opening hours."})
    assert names(place) == ["a.md", "eval.jsonl"]
    documents = Documents.read(place, leave_out=[place / "." / "eval.jsonl"])
    assert [each.name for each in documents.found("Opening?")] == ["a.md"]


def test_an_example_that_answers_the_question_is_not_shown_with_it(tmp_path: Path) -> None:
    """A copy of the prompts among the documents, under whatever name and in whatever shape."""
    rows = (
        '{"messages": [{"role": "system", "content": "s"}, {"role": "user", "content": "Opening?"},'
        ' {"role": "assistant", "content": "At nine."}]}\n'
        '{"prompt": "Opening?", "expected": "At nine."}\n'
        '{"prompt": "Opening when?", "expected": "At ten."}\n'
    )
    documents = Documents.read(folder(tmp_path, {"copy.jsonl": rows}), passages=1)
    for start in ((), (ChatMessage(role="developer", content="d"),)):
        *_, asked = documents.shown([*start, ChatMessage(role="user", content="Opening?")])
        assert "At ten." in str(asked.content)
        assert "At nine." not in str(asked.content)


# --- which files --------------------------------------------------------------------------------


def test_only_documents_that_are_text_and_in_the_folder_are_read(tmp_path: Path) -> None:
    folder(tmp_path / "elsewhere", {"secret.md": "a password"})
    place = folder(
        tmp_path / "docs",
        {
            "b.md": "bb",
            "a/z.TXT": "zz",
            ".hidden.md": "no",
            ".git/config.txt": "no",
            "program.py": "no",
            "picture.txt": b"\x89PNG\0\0",
            "empty.md": " \n\n ",
            "id_rsa": "no",
        },
    )
    (place / "link.md").symlink_to(tmp_path / "elsewhere/secret.md")
    (place / "inside.md").symlink_to(place / "b.md")
    (place / "linked").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(place / "pipe.md")
    assert names(place) == ["a/z.TXT", "b.md", "inside.md"]
    assert read_passages(place)[1] == 3


def test_names_cannot_break_the_lines_of_a_prompt(tmp_path: Path) -> None:
    assert names(folder(tmp_path, {"a\n\x1b[31mb.md": "text"})) == ["a??[31mb.md"]


def test_places_without_documents(tmp_path: Path) -> None:
    for place, words in (
        (tmp_path / "missing", "no such folder"),
        (folder(tmp_path / "none", {"a.py": "x"}), "no document with a text"),
        (folder(tmp_path / "signs", {"a.md": "--- …"}), "no words"),
        (folder(tmp_path / "latin", {"a.md": b"caf\xe9"}), "a.md: not UTF-8"),
    ):
        with pytest.raises(ConfigError, match=words):
            Documents.read(place)
    with pytest.raises(DatasetError, match=r"a\.jsonl:2: messages is a list"):
        Documents.read(folder(tmp_path / "rows", {"a.jsonl": '{"text": "x"}\n{"txt": "y"}\n'}))
    for count in (0, 101):
        with pytest.raises(ConfigError, match="from 1 to 100"):
            Documents.read(tmp_path, passages=count)


def test_too_much_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = folder(tmp_path, {f"{n}.md": "x" * 400_000 for n in range(3)})
    monkeypatch.setattr(passages, "MOST_BYTES", 2**20)
    with pytest.raises(ConfigError, match="more than 1 MiB"):
        read_passages(place)
    row = json.dumps({"text": "x" * 400_000}) + "\n"
    packed = folder(tmp_path / "packed", {"a.jsonl": gzip.compress(row.encode() * 3)})
    with pytest.raises(ConfigError, match="more than 1 MiB"):
        read_passages(packed)
    monkeypatch.setattr(passages, "MOST_FILES", 2)
    with pytest.raises(ConfigError, match="more than 2 documents"):
        read_passages(place)


def test_without_bm25s_it_is_said_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "bm25s", None)
    with pytest.raises(ConfigError, match=r"bm25s") as error:
        Documents.read(folder(tmp_path, HANDBOOK))
    assert "ftjobs[evals]" in error.value.hint


def test_nothing_is_printed_and_an_arm_needs_none_of_it(tmp_path: Path) -> None:
    folder(tmp_path, HANDBOOK)
    code = (
        "import sys, ftjobs.evals.arms\n"
        "assert not {'numpy', 'bm25s'} & {*sys.modules}, 'heavy'\n"
        "from ftjobs.evals.retrieval import Documents\n"
        f"assert Documents.read({str(tmp_path)!r}).found('shop')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


# --- HTML ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("page", "text"),
    [
        ("<p>Open\n at <b>ni</b>ne &amp; five.<br>Daily.</p>", "Open at nine & five.\nDaily."),
        ("<title>Shop</title><ul><li>One<li>Two</ul>", "Shop\n\nOne\nTwo"),
        ("a<style>p {x: y}</style>b<SCRIPT>if (a<b) alert('</p>')</Script >c", "abc"),
        ("a<script src='x'/>b<!-- <p>no</p> -->c<!doctype html>d<?xml?>e", "abcde"),
        ("1 < 2 and 3<4 &lt;b&gt;", "1 < 2 and 3<4 <b>"),
        ("<td>one</td><td>two</td>", "one\ntwo"),
        ("shown<script>never closed <p>x", "shown"),
        ("shown<!-- never closed <p>x", "shown"),
        ("<h1>A</h1><p>B</p>", "A\n\nB"),
    ],
)
def test_the_text_of_a_page(tmp_path: Path, page: str, text: str) -> None:
    (passage,) = read_passages(folder(tmp_path, {"a.html": page}))[0]
    lines = [line.strip() for line in passage.text.splitlines()]
    assert re.sub(r"\n{2,}", "\n\n", "\n".join(lines)) == text


def test_hostile_pages_are_read_in_time(tmp_path: Path) -> None:
    for text in ("<!", "<a ", "<![CDATA[", "&", "</", "<!--", "<script>", "<p>x"):
        place = folder(tmp_path, {"a.html": f"start {text * 200_000}"})
        assert read_passages(place)[0][0].text.startswith("start")


# --- cutting ------------------------------------------------------------------------------------


def test_paragraphs_stay_whole_where_they_fit_and_headings_with_what_follows() -> None:
    a, b = "a" * 500, "b" * 500
    text = f"# One\r\n\r\n{a}\r\n\r\n## Two\r\n\r\n{b}\n \n{'c' * 100}"
    assert list(cut(text)) == [f"# One\n\n{a}", f"## Two\n\n{b}\n\n{'c' * 100}"]


def test_long_paragraphs_are_cut_behind_sentences() -> None:
    sentences = [f"{n:03} {'x' * 90}." for n in range(20)]
    found = list(cut(" ".join(sentences)))
    assert " ".join(found).split(". ") == " ".join(sentences).split(". ")
    assert all(piece.endswith(".") for piece in found)
    japanese = "".join(f"{n:03}{'あ' * 90}。" for n in range(20))
    assert "".join(cut(japanese)) == japanese
    assert all(piece.endswith("。") for piece in cut(japanese))


@given(st.text(st.sampled_from("ab .。#\n\r"), max_size=3000), st.integers(1, 40))
def test_no_character_is_lost_and_no_passage_too_long(text: str, times: int) -> None:
    text = text * times
    found = list(cut(text))
    assert "".join("".join(found).split()) == "".join(text.split())
    assert all(piece.strip() for piece in found)
    assert all(len(piece) <= LENGTH + HEADING + 2 for piece in found)


def test_hostile_texts_are_cut_in_time() -> None:
    for text in ("\n" * 500_000, " \n" * 300_000, "." * 500_000, "# \n\n" * 100_000, "a" * 10**6):
        assert "".join("".join(cut(text)).split()) == "".join(text.split())
