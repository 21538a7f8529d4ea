"""A weight file whose activation is another than its name asks for is told of, never silent."""

import json

import open_clip
import pytest
import safetensors.torch
import timm
import torch

from towers import models
from towers.models.activations import trained_with_quick_gelu


def weights(path, state=None, **about):
    """A file of a few tensors; `about` is what open_clip's training puts beside them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save({**about, "state_dict": state or {"w": torch.ones(2)}}, path)
    return path


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("w/runs/a/vit-b-32-quickgelu.pt", True),
        ("w/runs/a/ViT_B_32_OpenAI_tuned.pt", True),
        ("w/model_ViT-B-32-quickgelu-lr_1e-5/checkpoints/epoch_3.pt", True),
        ("w/runs/dfn2b/e.pt", True),
        ("w/runs/a/laion2b_s34b_tuned.pt", False),
        ("w/runs/a/epoch_3.pt", None),
        ("w/runs/a/reopenaim.pt", None),
        ("openai/w/runs/a/epoch_3.pt", None),  # too far away to speak of this file
    ],
)
def test_names_tell_where_they_can(name, told, tmp_path_factory):
    assert trained_with_quick_gelu(weights(tmp_path_factory.mktemp("x") / name)) is told


def test_files_beside_and_inside_tell_before_names(tmp_path):
    run = weights(tmp_path / "quickgelu/checkpoints/e.pt", name="fine tuned")
    (tmp_path / "quickgelu/params.txt").write_text("batch: 2\nmodel: ViT-B-32\npretrained: \n")
    assert trained_with_quick_gelu(run) is False
    (tmp_path / "quickgelu/params.txt").write_text("model: ViT-B-32\npretrained: openai\n")
    assert trained_with_quick_gelu(run) is True
    (run.parent / "open_clip_config.json").write_text(json.dumps({"model_cfg": {"embed_dim": 2}}))
    assert trained_with_quick_gelu(run) is False


def test_a_run_s_name_and_metadata_tell(tmp_path):
    named = weights(tmp_path / "a" / "b" / "e.pt", name="2026-model_ViT-B-32-quickgelu-b_64")
    assert trained_with_quick_gelu(named) is True
    plain = tmp_path / "a" / "b" / "e.safetensors"
    safetensors.torch.save_file({"w": torch.ones(2)}, plain, {"base": "ViT-B-32/openai"})
    assert trained_with_quick_gelu(plain) is True


@pytest.mark.parametrize(
    ("file", "suffix", "said"),
    [
        ("x_quickgelu.pt", "", "was trained with QuickGELU, as it seems"),
        ("x_laion2b.pt", "-quickgelu", "was trained with GELU, as it seems"),
        ("x.pt", "", "if it comes from weights of OpenAI, MetaCLIP or DFN"),
        ("x.pt", "-quickgelu", ""),
        ("x_quickgelu.pt", "-quickgelu", ""),
        ("x_laion2b.pt", "", ""),
    ],
)
def test_a_name_of_the_other_activation_warns_in_one_line(
    file, suffix, said, tiny_arch, tmp_path, capsys
):
    path = weights(tmp_path / "a/b/c" / file, open_clip.create_model(tiny_arch).state_dict())
    capsys.readouterr()
    models.load(f"open_clip:{tiny_arch}{suffix}/{path}")
    lines = [line for line in capsys.readouterr().err.splitlines() if "warning" in line]
    assert len(lines) == bool(said)
    other = tiny_arch if suffix else f"{tiny_arch}-quickgelu"
    assert not said or (said in lines[0] and f"say {other} instead of" in lines[0])


def test_timm_s_towers_of_clip_warn_too(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: 1 / 0)  # the warning comes first
    path = weights(tmp_path / "a/b/c" / "openai.pt")
    with pytest.raises(ValueError, match="expected the weights"):
        models.load(f"timm:vit_base_patch32_clip_224/{path}")
    assert "say vit_base_patch32_clip_quickgelu_224 instead" in capsys.readouterr().err
