"""Examples end to end in one row, through any decoder of transformers: nothing is padded.

transformers hands attention to a function of ours, which keeps examples apart: `varlen_attn` of
torch (FlashAttention) on a GPU in 16 bits, else one call an example.  All else is transformers' own
code, so that checkpointing, compiling and quantised layers work as they do there.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise
from typing import Any

import torch
from torch.nn import functional

from ftjobs.backends.local.training.packed.head import token_logprobs
from ftjobs.backends.local.training.padded import agrees
from ftjobs.backends.local.training.render import Tokens
from ftjobs.backends.local.training.scores import Scores

ATTENTION = "ftjobs_joined"
"""The name of our attention in transformers' table."""


class Joined:
    """A `Scorer` over a PEFT model; `open_joined` says whether it is right for one."""

    pads = False

    def __init__(self, model: Any) -> None:
        base = model.get_base_model()
        self.model, self.decoder, self.head = model, base.get_decoder(), base.lm_head.weight
        _register()
        model.set_attn_implementation(ATTENTION)

    def score(self, examples: Sequence[Tokens]) -> Scores:
        """See `Scorer`."""
        device = self.head.device
        lengths = [len(tokens.ids) - 1 for tokens in examples]  # position t predicts token t + 1
        ids = torch.tensor([token for tokens in examples for token in tokens.inputs[:-1]])
        labels = torch.tensor([token for tokens in examples for token in tokens.ids[1:]])
        wanted = torch.tensor([mark for tokens in examples for mark in tokens.supervised[1:]])
        ends = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32, device=device)
        hidden = self.decoder(
            input_ids=ids[None].to(device),
            position_ids=torch.cat([torch.arange(n) for n in lengths])[None].to(device),
            attention_mask=torch.zeros(1, 1, 1, 1, device=device),  # else one of length² is made
            use_cache=False,
            cu_seq_lens_q=ends,
            cu_seq_lens_k=ends,
            max_length_q=max(lengths),
            max_length_k=max(lengths),
        ).last_hidden_state[0]
        kept = hidden.index_select(0, wanted.nonzero().squeeze(1).to(device))
        return Scores(*token_logprobs(kept, self.head, labels[wanted].to(device)))


def open_joined(model: Any) -> Joined | None:
    """A joined scorer if it is right for this PEFT model, else None.

    A model qualifies by its parts, and by giving the same scores as padded rows do on some made-up
    examples: one whose layers remember the example before, say, is found out.
    """
    if not _qualifies(model.get_base_model()):
        return None
    before = model.config._attn_implementation
    scorer = Joined(model)
    if _agrees(scorer, model):
        return scorer
    model.set_attn_implementation(before)
    return None


def _qualifies(base: Any) -> bool:
    head = getattr(base, "lm_head", None)
    config = base.config.get_text_config()
    caps = ("final_logit_softcapping", "attn_logit_softcapping")  # too weak for a probe to see
    return (
        type(head) is torch.nn.Linear
        and head.bias is None
        and not any(getattr(config, cap, None) for cap in caps)
        and bool(getattr(base, "_supports_attention_backend", False))
    )


def _agrees(joined: Joined, model: Any) -> bool:
    try:
        return agrees(joined, model)
    except (TypeError, ValueError, NotImplementedError):  # a decoder that wants something else
        return False


# --- attention --------------------------------------------------------------------------------


def _register() -> None:
    """Make our attention known; rows that are not joined get transformers' own, with its masks."""
    from transformers import AttentionInterface
    from transformers.masking_utils import AttentionMaskInterface, sdpa_mask

    AttentionInterface.register(ATTENTION, attention)
    AttentionMaskInterface.register(ATTENTION, sdpa_mask)


def attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Causal attention in transformers' form: (1, heads, tokens, size) to (1, tokens, heads, size).

    `cu_seq_lens_q` says where examples begin and end.

    Raises:
        NotImplementedError: the model wants something that is not computed here.
    """
    ends = options.get("cu_seq_lens_q")
    if ends is None:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        found, _ = sdpa_attention_forward(module, query, key, value, attention_mask, **options)
        return found, None
    if options.get("softcap") or options.get("s_aux") is not None:
        raise NotImplementedError("soft caps and attention sinks")
    scale, window = options.get("scaling"), options.get("sliding_window")
    if not window and _is_masked(module):
        raise NotImplementedError("windows that only a mask tells of")
    if query.is_cuda and query.dtype in (torch.float16, torch.bfloat16):
        rows = _by_flash(query, key, value, ends, options["max_length_q"], scale, window)
    else:
        rows = _one_by_one(query, key, value, ends.tolist(), scale, window)
    return rows, None


def _is_masked(module: torch.nn.Module) -> bool:
    """Whether this layer looks back only so far: too far for a probe to see."""
    config: Any = getattr(module, "config", None)
    kinds = getattr(config, "layer_types", None)
    if not kinds:
        return bool(getattr(config, "sliding_window", None))
    kind = kinds[getattr(module, "layer_idx", 0)]
    return kind in ("sliding_attention", "chunked_attention")


def _by_flash(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    ends: torch.Tensor,
    longest: int,
    scale: float | None,
    window: int | None,
) -> torch.Tensor:
    from torch.nn.attention.varlen import varlen_attn

    q, k, v = (each[0].transpose(0, 1) for each in (query, key, value))
    found: Any = varlen_attn(
        q, k, v, ends, ends, longest, longest,
        scale=scale,
        window_size=((window - 1) if window else -1, 0),
        enable_gqa=q.shape[1] != k.shape[1],
    )  # fmt: skip
    return found[None]  # type: ignore[no-any-return]


def _one_by_one(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    ends: Sequence[int],
    scale: float | None,
    window: int | None,
) -> torch.Tensor:
    grouped = query.shape[1] != key.shape[1]
    found = []
    for start, end in pairwise(ends):
        q, k, v = (each[:, :, start:end] for each in (query, key, value))
        mask = None
        if window and end - start > window:
            mask = torch.ones(end - start, end - start, dtype=torch.bool, device=q.device)
            mask = mask.tril().triu(1 - window)
        found.append(
            functional.scaled_dot_product_attention(
                q, k, v, attn_mask=mask, is_causal=mask is None, scale=scale, enable_gqa=grouped
            )
        )
    return torch.cat(found, dim=2).transpose(1, 2).contiguous()
