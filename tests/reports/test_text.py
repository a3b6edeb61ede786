from ftjobs import reports
from ftjobs.evals import Answer, Comparison, Prompt, Row
from ftjobs.reports.cells import width
from ftjobs.schema import ChatMessage, Sampling


def row(question: str, expected: str | None, base: str, tuned: str, **scores: float) -> Row:
    prompt = Prompt((ChatMessage(role="user", content=question),), expected)
    pairs = {name: (0.0, score) for name, score in scores.items()}
    return Row(prompt, Answer(base), Answer(tuned), pairs)


def comparison(*rows: Row, graders: tuple[str, ...] = ("exact", "chrf")) -> Comparison:
    return Comparison("smollm2-135m", "ft:smollm2:x", Sampling(temperature=0), graders, rows)


def test_answers_side_by_side_with_counts_and_means() -> None:
    result = comparison(
        row("営業時間は？", "10時からです。", "Hello", "10時からです。", exact=1, chrf=1),
        row("定休日は？", "火曜日です。", "\x1b[2Jbye", "水曜日です。", exact=0, chrf=0.5),
        row("free talk", None, "a", "b"),
    )
    text = reports.text(result, width=80)
    assert max(width(line) for line in text.splitlines()) <= 80
    assert text.splitlines()[-6:] == [
        "base   smollm2-135m",
        "tuned  ft:smollm2:x",
        "exact: base 0 of 2, tuned 1 of 2",
        "chrf: mean base 0.000, tuned 0.750 over 2 rows",
        "1 of 3 prompts have no expected answer: not graded",
        "sampling: temperature 0.0",
    ]
    assert "\x1b" not in text
    assert "✓ exact" in text


def test_it_judges_nothing() -> None:
    text = reports.text(comparison(row("q", "a", "b", "a", exact=1), graders=("exact",)))
    assert "better" not in text
    assert "signific" not in text


def test_nothing_to_grade_and_an_answer_cut_short() -> None:
    prompt = Prompt((ChatMessage(role="user", content="q"),))
    cut = Row(prompt, Answer("", "stop"), Answer("long", "length"), {})
    text = reports.text(comparison(cut))
    assert "exact: no prompt has an expected answer" in text
    assert "(no text)" in text
    assert "cut short" in text


def test_no_width_is_too_narrow() -> None:
    text = reports.text(comparison(row("q" * 50, "a", "b", "c", exact=0)), width=1)
    assert max(width(line) for line in text.splitlines()) <= 60
