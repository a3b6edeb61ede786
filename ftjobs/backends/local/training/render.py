"""One example → token ids and loss mask, exactly as the model will be asked later.

The chat template is rendered for every prefix that ends where the assistant begins to answer.
The text is cut at these places and each piece is tokenised on its own, so that the tokens before
an answer are those of the prompt at inference.  In each trained turn (weight other than 0) the
tokens up to and including the first stop token are supervised, nothing else.  Every example is
verified; one that cannot be masked for certain is refused, never guessed.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from ftjobs.backends.local.templates import render_text, template_messages
from ftjobs.errors import TrainingError
from ftjobs.schema import Example


@dataclass(frozen=True)
class Tokens:
    """A rendered example: `ids` and, of equal length, whether each token is supervised.

    `shown` is what the model reads instead of `ids`, where some of it is hidden; the labels are
    `ids` in any case.
    """

    ids: tuple[int, ...]
    supervised: tuple[bool, ...]
    line: int | None = None
    shown: tuple[int, ...] | None = None

    @property
    def inputs(self) -> tuple[int, ...]:
        """What the model reads."""
        return self.ids if self.shown is None else self.shown

    @property
    def targets(self) -> int:
        """How many tokens are supervised."""
        return sum(self.supervised)

    @property
    def size(self) -> int:
        """How many tokens there are."""
        return len(self.ids)

    @property
    def weight(self) -> int:
        """Its share of a mean loss: a loss is a mean over supervised tokens."""
        return self.targets


@dataclass(frozen=True)
class Renderer:
    """Renders examples for one tokenizer.

    `stops` are the token ids that end an answer; lengths are in tokens, that of an answer with its
    stop token.  A prompt is all that comes before a trained answer.  With `train_on_inputs` every
    token is supervised but the first, which nothing predicts, and answers of weight 0.
    `vocabulary` is how many tokens the model has, which may be fewer than its tokenizer.
    """

    tokenizer: Any
    stops: frozenset[int]
    context_length: int
    train_on_inputs: bool = False
    max_prompt_length: int | None = None
    max_completion_length: int | None = None
    vocabulary: int | None = None

    def prompt(self, messages: list[dict[str, Any]], tools: Any = None) -> list[int]:
        """The tokens that a model reads before it answers.

        Raises:
            ValueError: there is no way to ask this, or the template does not show the `tools`.
        """
        ids = self._encode(self._prompt_text(messages, tools))
        if not ids:
            raise ValueError("the chat template makes no text of this prompt")
        return ids

    def _prompt_text(self, messages: list[dict[str, Any]], tools: Any) -> str:
        self._refuse_reserved(messages, tools)
        text = render_text(self.tokenizer, messages, tools=tools, prompt=True)
        if tools and text == render_text(self.tokenizer, messages, prompt=True):
            raise ValueError("the chat template does not show the model its tools")
        return text

    def example(self, example: Example) -> Tokens:
        """Token ids and mask of one example.

        Raises:
            TrainingError: it is too long, or its mask cannot be known for certain.
        """
        try:
            ids, supervised = self._mask(example)
            self._require_lengths(ids, supervised)
            if self.train_on_inputs:
                ids, supervised = self._with_inputs(example)
        except ValueError as error:
            raise _refusal(example, str(error)) from None
        if len(ids) > self.context_length:
            raise _refusal(
                example,
                f"it has {len(ids):,} tokens and the limit is {self.context_length:,}; "
                "cutting it would lose the end of the answer",
            )
        return Tokens(tuple(ids), tuple(supervised), example.line)

    def _mask(self, example: Example) -> tuple[list[int], list[bool]]:
        messages = template_messages(example.messages)
        self._refuse_reserved(messages, example.tools)
        text = render_text(self.tokenizer, messages, tools=example.tools, prompt=False)
        turns = [
            index
            for index, message in enumerate(example.messages)
            if message.role == "assistant" and message.weight != 0
        ]
        if not turns:
            raise ValueError("no assistant turn is trained")
        starts = [self._start(text, messages[:index], example.tools) for index in turns]
        if example.tools and starts[0] == self._start_without_tools(messages[: turns[0]]):
            raise ValueError("the chat template does not show the model its tools")
        pieces = self._pieces(text, starts)
        if not pieces[0]:  # then nothing would predict the answer's first token
            raise ValueError("the chat template makes no text of this prompt")
        ids, supervised = list(pieces[0]), [False] * len(pieces[0])
        for index, piece in zip(turns, pieces[1:], strict=True):
            answer = self._answer(piece, last=index == len(messages) - 1)
            self._verify(answer, messages[index])
            ids += answer + piece[len(answer) :]
            supervised += [True] * len(answer) + [False] * (len(piece) - len(answer))
        return ids, supervised

    def _require_lengths(self, ids: list[int], supervised: list[bool]) -> None:
        spans = answer_spans(ids, supervised, self.stops)
        longest = {"prompt": spans[-1].start, "completion": max(len(span) for span in spans)}
        for kind, length in longest.items():
            limit = getattr(self, f"max_{kind}_length")
            if limit is not None and length > limit:
                raise ValueError(
                    f"its {kind} has {length:,} tokens and max_{kind}_length is {limit:,}"
                )

    def _with_inputs(self, example: Example) -> tuple[list[int], list[bool]]:
        """As `_mask`, with the prompts supervised too."""
        answers = [message for message in example.messages if message.role == "assistant"]
        trained = tuple(message.model_copy(update={"weight": 1}) for message in example.messages)
        ids, mask = self._mask(example.model_copy(update={"messages": trained}))
        supervised = [False, *[True] * (len(ids) - 1)]
        spans = answer_spans(ids, mask, self.stops)
        for span, message in zip(spans, answers, strict=True):
            if message.weight == 0:
                supervised[span.start : span.stop] = [False] * len(span)
        return ids, supervised

    def _start(self, text: str, before: list[dict[str, Any]], tools: Any) -> int:
        """Where in `text` the assistant begins to answer the messages `before`."""
        prefix = render_text(self.tokenizer, before, tools=tools, prompt=True)
        if not text.startswith(prefix):
            raise ValueError(
                "the chat template renders the conversation up to an assistant turn differently "
                "from the whole, so what the model would be asked cannot be trained"
            )
        return len(prefix)

    def _start_without_tools(self, before: list[dict[str, Any]]) -> int:
        return len(render_text(self.tokenizer, before, prompt=True))

    def _pieces(self, text: str, starts: list[int]) -> list[list[int]]:
        """Token ids of the text before, between and after `starts`."""
        cuts = [0, *starts, len(text)]
        pieces = [self._encode(text[a:b]) for a, b in itertools.pairwise(cuts)]
        whole = self._encode(text)
        joined = list(itertools.chain.from_iterable(pieces))
        if joined == whole or self._decode(joined) == self._decode(whole):
            return pieces
        # Sentencepiece tokenizers put a space before every text, so pieces differ from the whole.
        prompts = [self._encode(text[:start]) for start in starts]
        if any(prompt != whole[: len(prompt)] for prompt in prompts):
            return self._joined(text, starts, prompts, whole)
        edges = [0, *map(len, prompts), len(whole)]
        return [whole[a:b] for a, b in itertools.pairwise(edges)]

    def _joined(
        self, text: str, starts: list[int], prompts: list[list[int]], whole: list[int]
    ) -> list[list[int]]:
        """As `_pieces`, where a token of the whole spans the border between prompt and answer.

        Such is the space after "Assistant: ".  The model will be asked with it at the prompt's
        end, so the answer is tokenised as what comes after, without a space put before it.
        """
        parts = itertools.pairwise([*starts, len(text)])
        pieces = [prompts[0], *(self._encode_inside(text[a:b]) for a, b in parts)]
        before = itertools.accumulate(pieces)
        same = all(prompt == joined for prompt, joined in zip(prompts, before, strict=False))
        if not same or self._decode(list(itertools.chain.from_iterable(pieces))) != self._decode(
            whole
        ):
            raise ValueError(
                "a token spans the border between prompt and answer; a chat template whose "
                "prompt does not end with a space may help"
            )
        return pieces

    def _encode_inside(self, text: str) -> list[int]:
        """The tokens of a text that follows another one."""
        mark = self._encode("\n")
        marked = self._encode("\n" + text)
        return marked[len(mark) :] if marked[: len(mark)] == mark else self._encode(text)

    def _answer(self, piece: list[int], *, last: bool) -> list[int]:
        """The piece up to its first stop token, which a template without one gets at the end."""
        for position, token in enumerate(piece):
            if token in self.stops:
                return piece[: position + 1]
        if not last:
            raise ValueError("the chat template does not end an earlier assistant turn")
        return [*piece, int(self.tokenizer.eos_token_id)]

    def _verify(self, answer: list[int], message: dict[str, Any]) -> None:
        if sum(token in self.stops for token in answer) != 1 or answer[-1] not in self.stops:
            raise ValueError("a trained turn must hold one stop token, at its end")
        for call in message.get("tool_calls", ()):
            if call["function"]["name"] not in self._decode(answer):
                raise ValueError("the chat template leaves out the tool calls of an answer")
        content = message["content"].strip()
        if content and content not in self._decode(answer):
            raise ValueError(
                "the tokenizer does not give the answer back as it was written"
                if self._decode(self._encode(content)).strip() != content
                else "the chat template leaves out a part of the answer"
            )

    def _refuse_reserved(self, messages: list[dict[str, Any]], tools: Any = None) -> None:
        """Text that spells a special token would be read as that token."""
        for part in (*messages, *(tools or ())):
            text = json.dumps(part, ensure_ascii=False, default=str)
            for spelled, token in self._reserved.items():
                if spelled in text:
                    raise ValueError(
                        f"a message or tool holds {token}, one of the model's reserved tokens"
                    )

    @cached_property
    def _reserved(self) -> dict[str, str]:
        """Special tokens by how JSON spells them, the unnamed ones (Llama 3's) among them."""
        added = self.tokenizer.added_tokens_decoder.values()
        tokens = {*self.tokenizer.all_special_tokens, *(str(t) for t in added if t.special)}
        return {json.dumps(token, ensure_ascii=False)[1:-1]: token for token in sorted(tokens)}

    def _encode(self, text: str) -> list[int]:
        # Templates write the start token themselves; adding another one is the double-BOS fault.
        try:
            ids = list(self.tokenizer(text, add_special_tokens=False)["input_ids"])
        except TypeError:  # half of a surrogate pair
            raise ValueError("the text is not valid Unicode") from None
        self._require_known(ids)
        return ids

    def _require_known(self, ids: Sequence[int]) -> None:
        """Refuse tokens that were added to the tokenizer alone."""
        if self.vocabulary is not None and (largest := max(ids, default=0)) >= self.vocabulary:
            raise ValueError(
                f"the model does not know {self._decode([largest])!r}, a token of its tokenizer"
            )

    def _decode(self, ids: list[int]) -> str:
        return str(self.tokenizer.decode(ids, clean_up_tokenization_spaces=False))


def answer_spans(
    ids: Sequence[int], supervised: Sequence[bool], stops: frozenset[int]
) -> list[range]:
    """Where each trained answer is in `ids`, its stop token included."""
    spans: list[range] = []
    start = None
    for place, token in enumerate(ids):
        if not supervised[place]:
            start = None
            continue
        if start is None:
            start = place
            spans.append(range(place, place))
        spans[-1] = range(start, place + 1)
        if token in stops:
            start = None
    return spans


def _refusal(example: Example, reason: str) -> TrainingError:
    place = f"line {example.line}" if example.line else "an example"
    return TrainingError(
        f"{place} cannot be trained: {reason}", code="invalid_training_file", param="training_file"
    )
