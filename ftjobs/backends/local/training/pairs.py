"""Examples of the families that read one text and give one answer: T5 and BERT.

Both are rendered to the same `Tokens` as a conversation: the prompt, then the answer, which alone
is supervised.  The prompt is the chat template's text of all messages before the answer, with
the tokens that the tokenizer itself puts around a text.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ftjobs.backends.local.families import ARTICLES, UNBOUNDED, Family
from ftjobs.backends.local.templates import template_messages
from ftjobs.backends.local.training.render import Renderer
from ftjobs.errors import ModelError, TrainingError
from ftjobs.schema import Example


@dataclass(frozen=True)
class PairRenderer(Renderer):
    """Prompt and answer of an encoder-decoder, which takes `side` tokens of each."""

    side: int = UNBOUNDED

    def prompt(self, messages: list[dict[str, Any]], tools: Any = None) -> list[int]:
        """See `Renderer`."""
        text = self._prompt_text(messages, tools)
        if not text.strip():
            raise ValueError("the chat template makes no text of this prompt")
        ids = self._framed(text=text)
        if len(ids) > self.side:
            raise ValueError(
                f"the prompt has {len(ids):,} tokens and the model takes {self.side:,}"
            )
        return ids

    def _mask(self, example: Example) -> tuple[list[int], list[bool]]:
        _require_last_turn(example)
        messages = template_messages(example.messages)
        self._refuse_reserved(messages[-1:])
        prompt = self.prompt(messages[:-1], example.tools)
        if messages[-1].get("tool_calls") or not messages[-1]["content"].strip():
            raise ValueError("the answer must be a text, without tool calls")
        answer = self._answer_ids(messages[-1])
        return prompt + answer, [False] * len(prompt) + [True] * len(answer)

    def _answer_ids(self, message: dict[str, Any]) -> list[int]:
        ids = self._framed(text_target=message["content"])
        if not ids or ids[-1] not in self.stops:
            ids.append(int(self.tokenizer.eos_token_id))
        if len(ids) > self.side:
            raise ValueError(f"the answer has {len(ids):,} tokens, the model takes {self.side:,}")
        self._verify(ids, message)
        return ids

    def _framed(self, **text: str) -> list[int]:
        """Token ids with what the tokenizer puts around a text, as T5's end or BERT's [CLS]."""
        try:
            given = self.tokenizer(**text, add_special_tokens=True, verbose=False)
        except TypeError:  # half of a surrogate pair
            raise ValueError("the text is not valid Unicode") from None
        ids = list(given["input_ids"])
        self._require_known(ids)
        return ids


@dataclass(frozen=True)
class LabelRenderer(PairRenderer):
    """Prompt of a classifier and, as the last token, the number of its answer in `labels`.

    Where these are not known yet, as when tokens are counted, every answer is number 0.
    """

    labels: tuple[str, ...] = ()

    def _answer_ids(self, message: dict[str, Any]) -> list[int]:
        if not self.labels:
            return [0]
        try:
            return [self.labels.index(message["content"].strip())]
        except ValueError:
            raise ValueError(
                f"its answer is none of the {len(self.labels)} of the training file, and a "
                "classifier gives no others"
            ) from None


def renderer_for(
    family: Family,
    tokenizer: Any,
    stops: frozenset[int],
    limit: int,
    *,
    asked: int | None = None,
    labels: tuple[str, ...] = (),
    **settings: Any,
) -> Renderer:
    """The renderer of a family of models.

    `limit` is what the model takes, in tokens; `asked` is the longest example that is wanted, if
    it is not that; `settings` are more fields of `Renderer`.
    """
    if family == "decoder":
        return Renderer(tokenizer, stops, asked or limit, **settings)
    if settings.get("train_on_inputs"):
        raise TrainingError(
            f"train_on_inputs: {ARTICLES[family]} learns to write no prompts",
            code="invalid_hyperparameter",
            param="train_on_inputs",
        )
    if family == "encoder-decoder":
        whole = asked or min(2 * limit, UNBOUNDED)
        return PairRenderer(tokenizer, stops, whole, side=limit, **settings)
    # One more for the number of the answer, which the model does not read.
    whole = (asked or limit) + 1
    return LabelRenderer(tokenizer, stops, whole, side=limit, labels=labels, **settings)


def closed_set(examples: Iterable[Example]) -> tuple[str, ...]:
    """The different answers of a training file, sorted: what a classifier chooses among.

    Raises:
        TrainingError: there is but one, or too many for a closed set: an answer should come
            twice on average.
    """
    counts = Counter(_answer(example) for example in examples)
    counts.pop("", None)  # refused with its line when it is rendered
    if len(counts) < 2:
        raise TrainingError(
            "all examples have the same answer, so there is nothing for a classifier to learn",
            code="invalid_training_file",
            param="training_file",
        )
    if len(counts) > 2 and 2 * len(counts) > counts.total():
        raise TrainingError(
            f"{counts.total():,} examples have {len(counts):,} different answers, which is no "
            "closed set for a classifier to choose from",
            code="invalid_training_file",
            param="training_file",
            hint="Use answers that repeat, or a decoder as base model.",
        )
    return tuple(sorted(counts))


def require_labels(labels: object) -> tuple[str, ...]:
    """The labels that were stored with a checkpoint.  ModelError if there are none."""
    if not isinstance(labels, list) or not labels or not all(isinstance(x, str) for x in labels):
        raise ModelError("the checkpoint does not say what its classifier's answers are")
    return tuple(labels)


def _answer(example: Example) -> str:
    if not example.messages or example.messages[-1].role != "assistant":
        return ""
    return str(template_messages(example.messages[-1:])[0]["content"]).strip()


def _require_last_turn(example: Example) -> None:
    trained = [m.role == "assistant" and m.weight != 0 for m in example.messages]
    if not any(trained):
        raise ValueError("no assistant turn is trained")
    if trained.count(True) > 1 or not trained[-1]:
        raise ValueError(
            "this family of models gives one answer: only the last turn can be trained "
            '(set "weight": 0 on earlier ones)'
        )
