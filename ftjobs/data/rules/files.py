"""The file as a whole: FT5xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT501",
        "no examples",
        "error",
        "There is nothing to train on.",
        "Write one example a line.",
        example="\n",
    ),
    Rule(
        "FT502",
        "too few examples",
        "error",
        "Hosted services fail the job after the upload; start with 50 to 100 examples.",
        "Add examples.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}]}',
    ),
    Rule(
        "FT503",
        "examples of different methods",
        "error",
        "A job trains with one method, decided by the first example of the file.",
        "Split the file, one method each.",
        example='{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant",'
        ' "content": "Hello!"}]}\n{"input": {"messages": [{"role": "user", "content":'
        ' "Hi"}]}, "preferred_output": [{"role": "assistant", "content": "Hello!"}],'
        ' "non_preferred_output": [{"role": "assistant", "content": "Go away."}]}',
    ),
    Rule(
        "FT504",
        "file changed while it was read",
        "error",
        "The findings may belong to neither version of it.",
        "Check it again when nothing writes to it.",
    ),
    Rule(
        "FT505",
        "too many examples",
        "error",
        "Services fail the job after the upload.",
        "Leave examples out, for example with ftjobs data sample.",
    ),
    Rule(
        "FT506",
        "file too large",
        "error",
        "The service refuses the upload.",
        "Leave examples out, or split the file over several jobs.",
    ),
    Rule(
        "FT507",
        "method that the target does not train",
        "error",
        "The service refuses the job.",
        'Choose another target, or convert the examples to {"messages": [...]}.',
        example='{"input": {"messages": [{"role": "user", "content": "Hi"}]},'
        ' "preferred_output": [{"role": "assistant", "content": "Hello!"}],'
        ' "non_preferred_output": [{"role": "assistant", "content": "Go away."}]}',
    ),
)
