"""Llama-like decoders, packed and differentiated by hand: the fast way to the same scores.

Examples lie one behind the other in one row of tokens, so that nothing is padded; attention looks
at one example at a time.  Each decoder layer is one `torch.autograd.Function`: it keeps what its
backward pass needs and nothing else, adds LoRA to fused projections, and computes no gradient for
a frozen weight.
"""
