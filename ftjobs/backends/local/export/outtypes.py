"""What weights can be stored as, with about how many bytes one of them takes."""

from __future__ import annotations

DTYPES = {"float32": 4, "bfloat16": 2, "float16": 2}
"""By transformers, in safetensors."""

OUTTYPES = {"f32": 4.0, "f16": 2.0, "bf16": 2.0, "q8_0": 34 / 32}
"""By llama.cpp's converter, in GGUF: q8_0 keeps 32 weights in 34 bytes."""
