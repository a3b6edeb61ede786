"""The `Scorer` of Llama-like decoders, and the question which models are."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch

from ftjobs.backends.local.training.packed.attention import groups
from ftjobs.backends.local.training.packed.head import token_logprobs
from ftjobs.backends.local.training.packed.layer import (
    Adapted,
    Layer,
    Packed,
    Projection,
    decoder_layer,
)
from ftjobs.backends.local.training.packed.tree import Row, fill_up, pack
from ftjobs.backends.local.training.padded import agrees
from ftjobs.backends.local.training.render import Tokens
from ftjobs.backends.local.training.scores import Scores

FAMILIES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""`model_type` of the models whose layers are those of `layer`."""
ROUND = 16
"""Tokens computed at once are filled up to a multiple of this, a tile of AMX: oneDNN compiles each
product anew for every number of rows."""


class PackedScorer:
    """A `Scorer` over a PEFT model; `open_packed` says whether it is right for one."""

    pads = False

    def __init__(self, model: Any) -> None:
        base = model.get_base_model()
        self.model, self.decoder, self.head = model, base.model, base.lm_head.weight
        self._layers = [_Read(layer) for layer in self.decoder.layers]

    def score(self, examples: Sequence[Tokens]) -> Scores:
        """See `Scorer`.  The examples are put in order of their length, and their scores back."""
        order = sorted(range(len(examples)), key=lambda i: -len(examples[i].ids))
        row = pack([examples[i] for i in order])
        paths = dict(zip(order, row.paths, strict=True))
        places, labels = _supervised(examples, paths)
        hidden = self._hidden(fill_up(row, ROUND))
        kept = self.decoder.norm(hidden.index_select(0, places.to(self.head.device)))
        return Scores(*token_logprobs(kept, self.head, labels.to(self.head.device)))

    def _hidden(self, row: Row) -> torch.Tensor:
        device = self.head.device
        hidden: torch.Tensor = self.decoder.embed_tokens(torch.tensor(row.ids, device=device))
        positions = torch.tensor([row.positions], device=device)
        cos, sin = (t[0, :, None] for t in self.decoder.rotary_emb(hidden, positions))
        half = sin.shape[-1] // 2
        sin = torch.cat((-sin[..., :half], sin[..., half:]), dim=-1)
        parts = groups(row.paths, dtype=hidden.dtype, device=device)
        packed = Packed(parts, cos, sin)
        for read in self._layers:
            hidden = decoder_layer(hidden, read.layer(), packed, *read.factors())
        return hidden


class _Read:
    """A layer of transformers with PEFT's adapters, as `DecoderLayer` takes it.

    The weights of projections with one input are put into one tensor, of which transformers' own
    become views: no copy is kept.
    """

    def __init__(self, layer: Any) -> None:
        attention, mlp = layer.self_attn, layer.mlp
        self._fused = [
            [attention.q_proj, attention.k_proj, attention.v_proj],
            [attention.o_proj],
            [mlp.gate_proj, mlp.up_proj],
            [mlp.down_proj],
        ]
        self._weights = [_fuse([_base(m).weight for m in modules]) for modules in self._fused]
        self._biases = [_fused_bias([_base(m) for m in modules]) for modules in self._fused]
        self._module = layer
        size = attention.head_dim
        self._heads = len(_base(attention.q_proj).weight) // size
        self._kv_heads = len(_base(attention.k_proj).weight) // size

    def layer(self) -> Layer:
        """The frozen part, with the adapters that are switched on now."""
        module, attention = self._module, self._module.self_attn
        qkv, out, gate_up, down = (
            Projection(weight, bias, tuple(_adapted(modules)))
            for weight, bias, modules in zip(self._weights, self._biases, self._fused, strict=True)
        )
        return Layer(
            qkv, out, gate_up, down,
            norm_in=module.input_layernorm.weight,
            norm_mlp=module.post_attention_layernorm.weight,
            q_norm=getattr(getattr(attention, "q_norm", None), "weight", None),
            k_norm=getattr(getattr(attention, "k_norm", None), "weight", None),
            heads=self._heads,
            kv_heads=self._kv_heads,
            epsilon=float(module.input_layernorm.variance_epsilon),
        )  # fmt: skip

    def factors(self) -> Iterator[torch.Tensor]:
        """A and B of every adapted projection, in order."""
        for modules in self._fused:
            for module in modules:
                for name in _active(module):
                    yield module.lora_A[name].weight
                    yield module.lora_B[name].weight


def _base(module: Any) -> Any:
    return getattr(module, "base_layer", module)


def _active(module: Any) -> list[str]:
    """Names of the adapters that add to this projection now."""
    if not hasattr(module, "lora_A") or module.disable_adapters:
        return []
    return [name for name in module.active_adapters if name in module.lora_A]


def _adapted(modules: Sequence[Any]) -> Iterator[Adapted]:
    start = 0
    for module in modules:
        end = start + len(_base(module).weight)
        for name in _active(module):
            yield Adapted(start, end, float(module.scaling[name]))
        start = end


@torch.no_grad()
def _fuse(weights: Sequence[torch.nn.Parameter]) -> torch.Tensor:
    if len(weights) == 1:
        return weights[0]
    fused = torch.cat([weight.detach() for weight in weights])
    start = 0
    for weight in weights:
        weight.data = fused[start : start + len(weight)]
        start += len(weight)
    return fused


def _fused_bias(modules: Sequence[Any]) -> torch.Tensor | None:
    biases = [module.bias for module in modules]
    if all(bias is None for bias in biases):
        return None
    return torch.cat(
        [
            torch.zeros_like(module.weight[:, 0]) if module.bias is None else module.bias.detach()
            for module in modules
        ]
    )


def _supervised(
    examples: Sequence[Tokens], paths: Mapping[int, Sequence[int]]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Places in the row that predict a supervised token, and these tokens."""
    places, wanted = [], []
    for number, example in enumerate(examples):
        learned = [t for t, is_learned in enumerate(example.supervised) if is_learned and t]
        places += [paths[number][t - 1] for t in learned]
        wanted += [example.ids[t] for t in learned]
    return torch.tensor(places, dtype=torch.long), torch.tensor(wanted, dtype=torch.long)


# --- which models -----------------------------------------------------------------------------


def open_packed(model: Any) -> PackedScorer | None:
    """A packed scorer if it is right for this PEFT model, else None.

    A model qualifies by its family, plain LoRA without dropout, and by giving the same scores as
    transformers does on some made-up examples: a variant that computes anything else is found out.
    """
    if not _qualifies(model):
        return None
    scorer = PackedScorer(model)
    return scorer if agrees(scorer, model) else None


def _qualifies(model: Any) -> bool:
    from peft.tuners.lora import Linear

    base = model.get_base_model()
    config = base.config
    if config.model_type not in FAMILIES or model.device.type != "cpu":
        return False
    window = getattr(config, "sliding_window", None)
    if config.hidden_act != "silu" or (window and window < config.max_position_embeddings):
        return False
    if getattr(config, "attention_dropout", 0) or base.lm_head.bias is not None:
        return False
    projections = (torch.nn.Linear, Linear)
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    for name, module in base.named_modules():
        if name.rpartition(".")[2] in names and not isinstance(module, projections):
            return False
        if isinstance(module, Linear) and not _is_plain(module):
            return False
        if hasattr(module, "modules_to_save"):
            return False
    return True


def _is_plain(module: Any) -> bool:
    """LoRA without dropout, DoRA or bias, on a linear layer of torch's own."""
    dropouts = all(isinstance(each, torch.nn.Identity) for each in module.lora_dropout.values())
    plain = not module.lora_variant and type(module.base_layer) is torch.nn.Linear
    return dropouts and plain and not any(module.lora_bias.values())
