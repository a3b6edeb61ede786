"""Length and truncation: FT9xx."""

from __future__ import annotations

from ftjobs.data.rules.rule import Rule

TABLE: tuple[Rule, ...] = (
    Rule(
        "FT901",
        "the answer is cut off",
        "error",
        "The service cuts examples at its context length, from the end and without a word; "
        "nothing that is trained is left of this one, and it is billed all the same.",
        "Shorten the prompt, or split the example.",
    ),
    Rule(
        "FT902",
        "the example is cut",
        "warning",
        "The service cuts examples at its context length, from the end: the model learns an "
        "answer without its end, and may learn not to stop.",
        "Shorten the example, or split it.",
    ),
    Rule(
        "FT903",
        "longer than the base model's context",
        "error",
        "A local job trains no example in part: it fails at one that is longer than the context.",
        "Shorten the example or split it, or choose a base model with a longer context.",
    ),
    Rule(
        "FT904",
        "may be longer than the context (estimated)",
        "warning",
        "By an estimate the example is close to the context length or beyond it; what is beyond "
        "is cut or refused.  Only the model's own tokenizer can tell.",
        "Shorten the example, or count exactly: `ftjobs data stats` says what is missing for it.",
    ),
    Rule(
        "FT905",
        "close to the context length",
        "info",
        "The example fits, with less than a tenth of the context to spare; another model's "
        "tokenizer or a longer system message may push its end out.",
        "Nothing, unless the data will be used with another base model.",
    ),
    Rule(
        "FT906",
        "the base model cannot show this example",
        "error",
        "The base model's chat template refuses the example or leaves a part of it out, or a text "
        "spells one of the model's reserved tokens; a local job fails at it.",
        "Change what the message names, or choose another base model.",
    ),
)
