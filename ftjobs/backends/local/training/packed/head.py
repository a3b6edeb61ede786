"""Log-probabilities of given tokens from hidden states, without all logits at once.

The gradient of each token's log-probability with respect to its own hidden state is computed with
it, while its logits are there: `(one_hot(token) - softmax(h W')) W`.  The difference is taken in
float32: of a token that is nearly certain it is all that there is.  The backward pass only scales
the gradient, so neither logits nor probabilities are kept, and memory does not grow with
tokens × vocabulary.
(Liger's fused linear cross-entropy does this for a loss; one gradient a token serves any loss.)
"""

from __future__ import annotations

from typing import Any

import torch

HEAD_NUMBERS = 1 << 23
"""Logits computed at once: 32 MiB of float32."""


class _TokenLogprobs(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        count, learns = len(labels), hidden.requires_grad
        logprobs = torch.empty(count, dtype=torch.float32, device=hidden.device)
        if hidden.dtype == torch.float64:
            logprobs = logprobs.double()
        hits = torch.empty(count, dtype=torch.bool, device=hidden.device)
        gradient = torch.empty_like(hidden) if learns else None
        rows = max(1, HEAD_NUMBERS // weight.shape[0])
        for start in range(0, count, rows):
            part = slice(start, start + rows)
            label = labels[part, None]
            logits = (hidden[part] @ weight.t()).to(logprobs.dtype)
            wanted = logits.gather(1, label)
            top = logits.amax(dim=1, keepdim=True)
            hits[part] = (wanted == top).squeeze(1)
            logits.sub_(top).exp_()
            total = logits.sum(dim=1, keepdim=True)
            logprobs[part] = (wanted - top - total.log()).squeeze(1)
            if gradient is not None:
                logits.div_(total.neg_()).scatter_add_(1, label, torch.ones_like(total))
                torch.mm(logits.to(weight.dtype), weight, out=gradient[part])
        ctx.mark_non_differentiable(hits)
        if gradient is not None:
            ctx.save_for_backward(gradient)
        return logprobs, hits

    @staticmethod
    def backward(ctx: Any, grad: torch.Tensor, _hits: torch.Tensor) -> tuple[Any, None, None]:
        (gradient,) = ctx.saved_tensors
        return (gradient * grad[:, None]).to(gradient.dtype), None, None


def token_logprobs(
    hidden: torch.Tensor, weight: torch.Tensor, labels: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Log-probability of each label (nats, float32) and whether it is the likeliest (bool).

    `hidden` has shape (tokens, hidden size), `weight`, frozen, (vocabulary, hidden size), `labels`
    (tokens,).
    """
    logprobs, hits = _TokenLogprobs.apply(hidden, weight, labels)  # type: ignore[no-untyped-call]
    return logprobs, hits
