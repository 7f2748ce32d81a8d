"""`precision: auto` trains in bfloat16 where the processor multiplies it, in float32 elsewhere."""

import json
from types import MappingProxyType

import pytest
import torch
from kit import stages

from ttfs.methods._precision import has_bfloat16, precision_on


@pytest.fixture
def units(monkeypatch: pytest.MonkeyPatch):
    """Set which units the processor has."""

    def set_units(*there: str) -> None:
        found = MappingProxyType({"avx2": True} | dict.fromkeys(there, True))
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)

    return set_units


@pytest.mark.parametrize("there", [(), ("avx512_f", "avx512_bw"), ("avx512_bf16",), ("amx_bf16",)])
def test_auto_asks_the_processor(units, there):
    units(*there)
    has = any("bf16" in unit for unit in there)
    assert has_bfloat16("cpu") == has
    assert precision_on("cpu", "auto") == ("bfloat16" if has else "float32")
    assert precision_on("cpu", "bfloat16") == "bfloat16"
    assert precision_on("cpu", "float32") == "float32"


@pytest.mark.parametrize("emulated", [False, True])
def test_auto_asks_the_gpu(monkeypatch, emulated):
    monkeypatch.setattr(
        torch.cuda, "is_bf16_supported", lambda including_emulation=True: including_emulation
    )
    if not emulated:
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda including_emulation=True: True)
    assert precision_on("cuda", "auto") == ("float32" if emulated else "bfloat16")


def trained(precision: str) -> tuple[dict, dict[str, torch.Tensor]]:
    """Train in a precision; return where the network comes from, and its weights."""
    stages.write_files(stages.Path())
    stages.edit("configs/methods/ann.yaml", "rate: 2.0e-2", f"rate: 2.0e-2, precision: {precision}")
    assert set(stages.run_stages([f"make {stages.CELL.format('ann')}"]).values()) == {0}
    folder = stages.cell("ann")
    made = json.loads((folder / "made.json").read_text())
    return made["provenance"], torch.load(folder / "weights.pt")


@pytest.mark.parametrize("there", [(), ("avx512_bf16",)])
def test_auto_is_the_precision_it_takes(fresh, units, capsys, there):
    units(*there)
    taken = "bfloat16" if there else "float32"
    provenance, weights = trained("auto")
    assert provenance["precision"] == taken
    said, same = trained(taken)
    assert said["precision"] == taken
    assert all(torch.equal(weights[name], same[name]) for name in weights)
    _, other = trained("float32" if there else "bfloat16")
    assert not all(torch.equal(weights[name], other[name]) for name in weights)


@pytest.mark.parametrize("there", [(), ("avx512_bf16",)])
def test_slow_bfloat16_is_said(fresh, units, capsys, there):
    units(*there)
    trained("auto")
    assert "warning" not in capsys.readouterr().err
    trained("bfloat16")
    assert ("'precision' is bfloat16" in capsys.readouterr().err) == (not there)
