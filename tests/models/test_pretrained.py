"""The resolver: its grammar, and the libraries' towers against the libraries themselves."""

import json
from dataclasses import replace

import numpy as np
import open_clip
import pytest
import safetensors.torch
import timm
import torch
import torch.nn.functional as F
from PIL import Image

from towers import models
from towers.models import DualTower, ImageTower, TextTower
from towers.models.sentences import SentenceEncoder

TEXTS = ["a photo of a dog", "two dogs", "", "naïve café 🐶 日本語", "long " * 200]


def pictures(count=3):
    pixels = np.random.default_rng(0).integers(0, 256, (count, 40, 52, 3), np.uint8)
    return [Image.fromarray(each) for each in pixels]


@pytest.mark.parametrize(
    "name",
    ["", ":", "minilm", "package:", "package", "package:efficientnet", "package:MiniLM",
     "Package:minilm", "hub:x", "open_clip:", "open_clip:ViT-B-32", "open_clip:/openai",
     "open_clip:ViT-B-32/", "open_clip:ViT-Z-99/openai", "open_clip:ViT-B-32/no_such_tag",
     "open_clip:coca_ViT-B-32/no_such_file.pt", "timm:", "timm:/random", "timm:resnet10t/",
     "timm:resnet10_t/random", "timm:resnet10t/no_such_file.safetensors", "hf:no/such/model",
     "hf:", "file:", "file:no_such_file", "package:minilm?resize=pad",
     "package:efficientnet-lite0?resize=stretch", "package:efficientnet-lite0?crop=pad",
     "package:efficientnet-lite0?resize", "package:efficientnet-lite0?",
     "package:efficientnet-lite0?resize=pad&resize=pad", "timm:resnet10t/random?pooling=cls",
     "hf:x?pooling=max", "package:efficientnet-lite0/pad"],
)  # fmt: skip
def test_names_outside_the_grammar_are_refused_in_one_line(name):
    with pytest.raises(ValueError, match="expected") as error:
        models.load(name)
    message = str(error.value)
    assert "\n" not in message
    assert len(message) < 1000
    assert type(error.value) is ValueError


def test_an_unknown_prefix_is_told_all_forms():
    with pytest.raises(ValueError, match="got 'clip:ViT-B-32'") as error:
        models.load("clip:ViT-B-32")
    for prefix in ("package:", "open_clip:", "timm:", "hf:", "scratch:", "file:"):
        assert prefix in str(error.value)


def test_halves_of_a_pair_have_the_pairs_name(tiny_arch):
    name = f"open_clip:{tiny_arch}/random"
    image, text = models.image_tower(name), models.text_tower(name)
    assert isinstance(image, ImageTower)
    assert isinstance(text, TextTower)
    assert image.name == text.name == name


def test_a_tower_of_the_other_kind_is_refused():
    with pytest.raises(ValueError, match=r"gives TextTower, got .*, which gives ImageTower"):
        models.text_tower("timm:test_vit/random")


# --- open_clip


@pytest.mark.parametrize("suffix", ["", "-quickgelu"])
def test_an_open_clip_pair_embeds_as_open_clip_does(tiny_arch, tmp_path, suffix):
    torch.manual_seed(3)
    theirs, _, preprocess = open_clip.create_model_and_transforms(tiny_arch + suffix)
    with torch.no_grad():
        theirs.eval().logit_scale.fill_(3.21)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(theirs.state_dict(), path)
    ours = models.load(f"open_clip:{tiny_arch}{suffix}/{path}")
    images = torch.stack([preprocess(picture) for picture in pictures()])
    ids = open_clip.get_tokenizer(tiny_arch)(TEXTS)
    with torch.no_grad():
        image_embeds = ours.embed_images(torch.stack([*map(ours.image.transform, pictures())]))
        text_embeds = ours.embed_texts(ours.text.tokenize(TEXTS))
        # both layouts of memory sum in their own order
        close = {"rtol": 0, "atol": 1e-6}
        torch.testing.assert_close(
            image_embeds, theirs.encode_image(images, normalize=True), **close
        )
        torch.testing.assert_close(text_embeds, theirs.encode_text(ids, normalize=True), **close)
    assert ours.logit_scale.item() == pytest.approx(np.exp(3.21))
    assert ours.embed == ours.image.width == ours.text.width == 24


def test_quickgelu_is_no_matter_of_the_weights_alone(tiny_arch, tmp_path):
    """The same file under both activations: equal checksums, other features, other keys."""
    path = tmp_path / "weights.pt"
    torch.save(open_clip.create_model(tiny_arch).state_dict(), path)
    plain, quick = (models.load(f"open_clip:{tiny_arch}{s}/{path}") for s in ("", "-quickgelu"))
    images = torch.stack([*map(plain.image.transform, pictures())])
    assert plain.checksum == quick.checksum
    assert plain.image.name != quick.image.name
    assert (plain.image(images) - quick.image(images)).abs().max() > 1e-4


@pytest.fixture
def tagged(tiny_arch, tmp_path, monkeypatch):
    """The small architecture with a tag "quick" of QuickGELU weights, already downloaded."""
    path = tmp_path / "tagged.safetensors"
    safetensors.torch.save_file(open_clip.create_model(tiny_arch).state_dict(), path)
    tags = open_clip.pretrained._PRETRAINED
    plain, quick = ({"url": "", "hf_hub": "", "quick_gelu": on} for on in (False, True))
    monkeypatch.setitem(tags, tiny_arch, {"plain": plain, "quick": quick})
    monkeypatch.setitem(tags, f"{tiny_arch}-quickgelu", {"plain": plain, "quick": quick})
    monkeypatch.setattr(open_clip.factory, "download_pretrained", lambda *_, **__: str(path))
    return tiny_arch, path


def activations(tower):
    return {type(m).__name__ for m in tower.modules() if "GELU" in type(m).__name__}


@pytest.mark.filterwarnings("error:QuickGELU")
def test_a_tag_trained_with_quickgelu_gets_it_under_either_name(tagged):
    arch, _ = tagged
    for name in (arch, f"{arch}-quickgelu"):
        dual = models.load(f"open_clip:{name}/quick")
        assert activations(dual.image) == activations(dual.text) == {"QuickGELU"}
    assert activations(models.load(f"open_clip:{arch}/plain")) == {"GELU"}


def test_a_tag_without_quickgelu_is_refused_for_a_quickgelu_architecture(tagged):
    arch, _ = tagged
    with pytest.raises(ValueError, match=f"QuickGELU for .*say open_clip:{arch}/plain"):
        models.load(f"open_clip:{arch}-quickgelu/plain")


def test_openai_weights_are_refused_for_an_architecture_without_quickgelu(tiny_arch, tmp_path):
    """Only OpenAI's exports hold their context length; which activation they need is known."""
    state = open_clip.create_model(tiny_arch).state_dict()
    path = tmp_path / "openai.pt"
    torch.save(state | {"context_length": torch.tensor(77), "vocab_size": torch.tensor(9)}, path)
    with pytest.raises(ValueError, match=f"with QuickGELU .*say open_clip:{tiny_arch}-quickgelu"):
        models.load(f"open_clip:{tiny_arch}/{path}")
    dual = models.load(f"open_clip:{tiny_arch}-quickgelu/{path}")
    assert torch.equal(dual.image.encoder.proj, state["visual.proj"])


def test_a_tag_out_of_reach_tells_where_a_file_goes(tiny_arch):
    with pytest.raises(ValueError, match=r"place the file and say open_clip:ViT-B-32/PATH"):
        models.load("open_clip:ViT-B-32/laion2b_s34b_b79k")


@pytest.mark.parametrize(
    ("change", "named"),
    [(lambda s: s.pop("visual.proj"), "visual.proj"),
     (lambda s: s.update(extra=torch.ones(1)), "extra"),
     (lambda s: s.update({"ln_final.bias": torch.ones(5)}), "ln_final.bias")],
    ids=["missing", "unexpected", "misshaped"],
)  # fmt: skip
def test_open_clip_weights_that_do_not_fit_are_refused_by_key(tiny_arch, tmp_path, change, named):
    state = open_clip.create_model(tiny_arch).state_dict()
    change(state)
    torch.save(state, tmp_path / "weights.pt")
    with pytest.raises(ValueError, match=named) as error:
        models.load(f"open_clip:{tiny_arch}/{tmp_path}/weights.pt")
    assert "\n" not in str(error.value)


# --- timm


def test_a_timm_tower_is_timms_model_with_its_own_preprocessing(tmp_path):
    torch.manual_seed(5)
    theirs = timm.create_model("test_efficientnet").eval()  # with its classifier
    safetensors.torch.save_file(theirs.state_dict(), tmp_path / "weights.safetensors")
    ours = models.load(f"timm:test_efficientnet/{tmp_path}/weights.safetensors")
    preprocess = timm.data.create_transform(**timm.data.resolve_model_data_config(theirs))
    images = torch.stack([preprocess(picture) for picture in pictures()])
    assert torch.equal(torch.stack([*map(ours.transform, pictures())]), images)
    with torch.no_grad():
        features = ours(images)
        expected = theirs.forward_head(theirs.forward_features(images), pre_logits=True)
    assert features.shape == (3, ours.width)
    torch.testing.assert_close(features, expected, rtol=1e-4, atol=1e-5)  # two memory layouts


@pytest.mark.parametrize(
    ("change", "named"),
    [(lambda s: s.pop("norm.bias"), "lacks the key 'norm.bias'"),
     (lambda s: s.update({"head.other": torch.ones(1)}), None),
     (lambda s: s.update(extra=torch.ones(1)), "unexpected key 'extra'"),
     (lambda s: s.update({"norm.bias": torch.ones(5)}), r"'norm.bias' of shape \(64,\).*\(5,\)")],
    ids=["missing", "head", "unexpected", "misshaped"],
)  # fmt: skip
def test_timm_weights_that_do_not_fit_are_refused_by_key(tmp_path, change, named):
    state = timm.create_model("test_vit").state_dict()
    change(state)
    path = tmp_path / "weights.safetensors"
    safetensors.torch.save_file(state, path)
    if named is None:
        assert models.load(f"timm:test_vit/{path}").width == 64
    else:
        with pytest.raises(ValueError, match=named):
            models.load(f"timm:test_vit/{path}")


def test_random_weights_are_the_same_every_time_and_leave_the_generator_alone():
    torch.manual_seed(11)
    expected = torch.rand(3)
    torch.manual_seed(11)
    checksums = {models.load("timm:test_vit/random").checksum for _ in range(2)}
    assert torch.equal(torch.rand(3), expected)
    assert len(checksums) == 1


def test_timm_weights_out_of_reach_tell_where_a_file_goes():
    with pytest.raises(ValueError, match=r"place the file and say timm:test_vit\.r160_in1k/PATH"):
        models.load("timm:test_vit.r160_in1k")


@pytest.mark.parametrize("resize", ["crop", "pad", "squash"])
def test_resize_changes_the_transform_and_nothing_else(resize):
    own, other = (
        models.load("timm:test_vit/random"),
        models.load(f"timm:test_vit/random?resize={resize}"),
    )
    assert other.transform.resize == resize
    assert (other.recipe == own.recipe) == (resize == "crop")
    assert other.checksum == own.checksum


# --- transformers


def test_a_bare_bert_gives_its_first_tokens_state(bert):
    from transformers import BertModel, BertTokenizerFast

    tower = models.load(f"hf:{bert}")
    theirs = BertModel.from_pretrained(bert).eval()
    tokens = BertTokenizerFast.from_pretrained(bert)(
        TEXTS, padding=True, truncation=True, max_length=512, return_tensors="pt"
    )
    with torch.no_grad():
        expected = theirs(**tokens).last_hidden_state[:, 0]
        torch.testing.assert_close(tower(tower.tokenize(TEXTS)), expected, rtol=0, atol=1e-6)
    assert tower.width == 16
    assert json.loads(tower.recipe)["pooling"] == "cls"


def test_pooling_can_be_said_in_the_name(bert):
    first, mean = models.load(f"hf:{bert}"), models.load(f"hf:{bert}?pooling=mean")
    alone = [
        first.encoder.transformer(**first.tokenize([text])).last_hidden_state.mean(1)
        for text in TEXTS[:4]  # without the one that is cut
    ]
    # in a padded batch as alone
    features = mean(mean.tokenize(TEXTS[:4]))
    torch.testing.assert_close(features, torch.cat(alone), rtol=0, atol=1e-6)
    assert first.recipe != mean.recipe


@pytest.mark.parametrize("kind", ["Bert", "Electra", "DistilBert", "Roberta", "MPNet"])
@pytest.mark.parametrize("declared", [None, 40])
def test_a_long_text_takes_every_position_that_there_is(bert, kind, declared):
    import transformers

    sizes = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
             "intermediate_size": 32, "pad_token_id": 0}  # fmt: skip
    family = {"Roberta": {"pad_token_id": 1}, "MPNet": {"pad_token_id": 1},
              "DistilBert": {"dim": 16, "n_layers": 1, "n_heads": 2, "hidden_dim": 32}}  # fmt: skip
    options = sizes | family.get(kind, {})
    config = getattr(transformers, f"{kind}Config")(max_position_embeddings=64, **options)
    getattr(transformers, f"{kind}Model")(config).save_pretrained(bert)
    settings = json.loads((bert / "tokenizer_config.json").read_text())
    settings.pop("model_max_length", None)
    settings |= {"model_max_length": declared} if declared else {}
    (bert / "tokenizer_config.json").write_text(json.dumps(settings))
    tower = models.load(f"hf:{bert}")
    first = 2 if kind in ("Roberta", "MPNet") else 0  # number of the first token's position
    tokens = tower.tokenize(["word " * 200])
    assert tokens["input_ids"].shape[1] == (declared or 64 - first)
    assert tower(tokens).isfinite().all()


def write_pipeline(folder, modes, kinds=("Transformer", "Pooling", "Normalize")):
    types = [f"sentence_transformers.models.{kind}" for kind in kinds]
    modules = [{"path": p, "type": t} for p, t in zip(("", "1_Pooling", "2"), types, strict=False)]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(dict.fromkeys(modes, True)))
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 7}')


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("normalize", [True, False])
def test_a_declared_pipeline_is_followed(bert, pooling, normalize):
    mode = {"cls": "pooling_mode_cls_token", "mean": "pooling_mode_mean_tokens"}[pooling]
    write_pipeline(bert, [mode], ("Transformer", "Pooling", "Normalize")[: 2 + normalize])
    tower = models.load(f"hf:{bert}")
    tokens = tower.tokenize(TEXTS)
    assert tokens["input_ids"].shape[1] == 7
    plain = SentenceEncoder(tower.encoder.transformer, pooling, normalize=False)(**tokens)
    expected = F.normalize(plain, dim=-1) if normalize else plain
    torch.testing.assert_close(tower(tokens), expected)


@pytest.mark.parametrize(
    ("modes", "kinds", "named"),
    [(["pooling_mode_max_tokens"], ("Transformer", "Pooling"), "got pooling_mode_max_tokens"),
     (["pooling_mode_cls_token", "pooling_mode_mean_tokens"], ("Transformer", "Pooling"), "got"),
     ([], ("Transformer", "Pooling"), "got none"),
     (["pooling_mode_cls_token"], ("Transformer", "Pooling", "Dense"), "Dense")],
)  # fmt: skip
def test_a_pipeline_that_we_do_not_know_is_refused(bert, modes, kinds, named):
    write_pipeline(bert, modes, kinds)
    with pytest.raises(ValueError, match=named):
        models.load(f"hf:{bert}")


@pytest.mark.parametrize("content", ["{", "[1]", "{}", "[{}]", "3"])
def test_a_damaged_pipeline_is_refused(bert, content):
    (bert / "modules.json").write_text(content)
    with pytest.raises(ValueError, match=r"expected (JSON in modules.json|the modules)"):
        models.load(f"hf:{bert}")


@pytest.mark.parametrize("file", ["config.json", "tokenizer.json", "model.safetensors"])
def test_a_damaged_file_is_refused_in_one_line(bert, file):
    (bert / file).write_text("{")
    with pytest.raises(ValueError, match="expected") as error:
        models.load(f"hf:{bert}")
    assert "\n" not in str(error.value)
    assert str(bert) in str(error.value)


def edit_weights(folder, change):
    path = folder / "model.safetensors"
    state = safetensors.torch.load_file(path)
    change(state)
    safetensors.torch.save_file(state, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("change", "named"),
    [(lambda s: s.pop("encoder.layer.1.output.dense.bias"), "lacks key 'encoder.layer.1.output"),
     (lambda s: s.update({"encoder.layer.2.x": torch.ones(1)}), "unexpected key 'encoder.layer.2"),
     (lambda s: s.update({"embeddings.LayerNorm.bias": torch.ones(5)}), "embeddings.LayerNorm")],
    ids=["missing", "unexpected", "misshaped"],
)  # fmt: skip
def test_hf_weights_that_do_not_fit_are_refused_by_key(bert, change, named):
    edit_weights(bert, change)
    with pytest.raises(ValueError, match=named) as error:
        models.load(f"hf:{bert}")
    assert "\n" not in str(error.value)


def test_the_pooler_and_other_heads_are_not_part_of_the_tower(bert):
    """Checkpoints differ in them, and features do not rest on them."""
    before = models.load(f"hf:{bert}")
    edit_weights(bert, lambda s: s.pop("pooler.dense.weight"))
    edit_weights(bert, lambda s: s.update({"cls.predictions.bias": torch.ones(5)}))
    assert models.load(f"hf:{bert}").checksum == before.checksum


def test_a_model_of_another_family_is_refused(bert):
    config = json.loads((bert / "config.json").read_text()) | {"model_type": "gpt2"}
    (bert / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match=r"expected a text encoder of .*bert.*, got 'gpt2'"):
        models.load(f"hf:{bert}")


def test_remote_code_is_never_run(bert):
    config = json.loads((bert / "config.json").read_text())
    config |= {"model_type": "mine", "auto_map": {"AutoConfig": "code.C", "AutoModel": "code.M"}}
    (bert / "config.json").write_text(json.dumps(config))
    (bert / "code.py").write_text(f"open({str(bert / 'ran')!r}, 'w')")
    with pytest.raises(ValueError, match="expected"):
        models.load(f"hf:{bert}")
    assert not (bert / "ran").exists()


# --- all


@pytest.mark.parametrize("kind", ["open_clip", "timm", "hf", "file"])
def test_whatever_is_loaded_is_frozen(kind, tiny_arch, bert, tmp_path):
    dual = DualTower(models.load("timm:test_vit/random"), models.load(f"hf:{bert}"), 8, "test:dual")
    models.save(dual, tmp_path / "dual.safetensors")
    name = {"open_clip": f"open_clip:{tiny_arch}/random", "timm": "timm:test_vit/random",
            "hf": f"hf:{bert}", "file": f"file:{tmp_path / 'dual.safetensors'}"}[kind]  # fmt: skip
    model = models.load(name)
    assert not any(parameter.requires_grad for parameter in model.parameters())
    assert not any(part.training for part in model.modules())


def test_recipes_differ_with_every_setting():
    transform = models.load("timm:test_vit/random").transform
    changes = {"size": 8, "mean": (0, 0, 0), "std": (1, 1, 1), "interpolation": "bilinear",
               "resize": "squash", "crop_fraction": 0.5}  # fmt: skip
    recipes = {replace(transform, **{key: value}).recipe for key, value in changes.items()}
    assert len(recipes | {transform.recipe}) == 1 + len(changes)


def test_checkpointing_by_name_changes_no_gradient(tiny_arch):
    name = f"open_clip:{tiny_arch}/random"
    found = []
    for tower in (name, f"{name}?checkpointing=true"):
        pair = models.dual(tower, tower, None).train()
        able = [each for each in pair.modules() if hasattr(each, "grad_checkpointing")]
        assert able
        assert {each.grad_checkpointing for each in able} == {tower != name}
        size = pair.image.transform.size
        pictures = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
        pair.embed_images(pictures).square().mean().backward()
        found.append([w.grad for w in pair.parameters() if w.grad is not None])
    assert len(found[0]) == len(found[1]) > 0
    for plain, again in zip(*found, strict=True):
        torch.testing.assert_close(again, plain)
    assert models.image_tower(f"{name}?checkpointing=true").frozen


def test_a_tilde_is_the_home_folder(bert, monkeypatch):
    monkeypatch.setenv("HOME", str(bert.parent))
    assert models.load("hf:~/bert").checksum == models.load(f"hf:{bert}").checksum
