"""The precision of a training, by what the processors of this machine multiply fast."""

BFLOAT16_UNITS = ("avx512_bf16", "amx_bf16")
"""Names of `torch.cpu.get_capabilities`, of x86; on other processors nothing was measured."""


def has_bfloat16(device: str) -> bool:
    """Return whether "cpu" or "cuda" has units that multiply bfloat16.

    Without them torch multiplies one number at a time, many times slower than in float32.
    """
    import torch

    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    there = torch.cpu.get_capabilities()
    return any(there.get(unit, False) for unit in BFLOAT16_UNITS)


def precision_on(device: str, asked: str) -> str:
    """Return the precision of a training: what is asked for, or for "auto" bfloat16 where the
    device has units for it, float32 elsewhere.
    """
    if asked != "auto":
        return asked
    return "bfloat16" if has_bfloat16(device) else "float32"
