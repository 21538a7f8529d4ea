"""The trace against real steps: the same operations, and to the byte the same memory."""

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from towers import models
from towers.models import trainable
from towers.training import tracing

torch.set_num_threads(1)

VIT = "scratch:vit?image=32&patch=8&width=32&depth=3&heads=4"
RESNET = "scratch:resnet?image=32&width=8&layers=1,1,1,1"
WORDS = "scratch:transformer?width=32&depth=2&heads=4&context=12&vocabulary=700"
BAG = "scratch:bow?width=32&context=12&vocabulary=700"
SAVING = (f"{VIT}&checkpointing=true", f"{WORDS}&checkpointing=true")
PAIRS = [(VIT, WORDS), (f"{VIT}&patch_drop=0.5", BAG), (RESNET, WORDS), SAVING]


def real(dual, batch):
    """Real inputs, a text that fills its context among them."""
    ids = dual.text.tokenize(["word " * 100])["ids"].expand(batch, -1).contiguous()
    return torch.randn(batch, 3, 32, 32), {"ids": ids}


def saved_bytes(dual, inputs, precision):
    """What autograd keeps by its own account, and the embeddings themselves."""
    own = {tensor.untyped_storage()._cdata for _, tensor in tracing.state(dual)}
    own |= {each.untyped_storage()._cdata for each in (inputs[0], inputs[1]["ids"])}
    kept = {}

    def pack(tensor):
        kept[tensor.untyped_storage()._cdata] = tensor.untyped_storage()
        return tensor

    low = torch.autocast("cpu", tracing.DTYPES[precision], enabled=precision != "fp32")
    with saved_tensors_hooks(pack, lambda tensor: tensor), low:
        embeds = dual.embed_images(inputs[0]), dual.embed_texts(inputs[1])
    kept |= {each.untyped_storage()._cdata: each.untyped_storage() for each in embeds}
    return sum(storage.nbytes() for key, storage in kept.items() if key not in own)


@pytest.mark.parametrize("names", PAIRS, ids=["vit", "dropped", "resnet", "checkpointed"])
@pytest.mark.parametrize("batch", [2, 6])
def test_in_fp32_the_trace_is_the_real_step_to_the_byte(names, batch):
    dual = models.dual(*names, 16).train()
    traced = tracing.trace(dual, batch)
    step, inputs = tracing.Step(dual), real(dual, batch)
    assert tracing.measured(step, dict(tracing.state(step)), inputs, "fp32") == traced
    assert saved_bytes(dual, inputs, "fp32") == traced.saved
    assert traced.inputs == inputs[0].nbytes + inputs[1]["ids"].nbytes


@pytest.mark.parametrize("names", PAIRS, ids=["vit", "dropped", "resnet", "checkpointed"])
def test_in_bf16_the_trace_is_within_one_percent(names):
    """Statistics of a layer norm are fp32 in the kernel and bf16 on paper: a few bytes a token."""
    dual = models.dual(*names, 16).train()
    traced = tracing.trace(dual, 6, "bf16")
    step, inputs = tracing.Step(dual), real(dual, 6)
    got = tracing.measured(step, dict(tracing.state(step)), inputs, "bf16")
    assert got.flops == traced.flops
    assert got.peak == pytest.approx(traced.peak, rel=0.01)
    assert saved_bytes(dual, inputs, "bf16") == pytest.approx(traced.saved, rel=0.01)


@pytest.mark.parametrize("names", PAIRS, ids=["vit", "dropped", "resnet", "checkpointed"])
def test_the_meta_device_serves_as_well(names):
    meta = models.dual(*names, 16, device="meta")
    assert tracing.trace(meta, 3) == tracing.trace(models.dual(*names, 16), 3)


def counted(dual, inputs, *backends):
    """What torch counts on the way forward, and on both ways, with kernels of attention."""
    with FlopCounterMode(display=False) as counter, sdpa_kernel(list(backends)):
        embeds = dual.embed_images(inputs[0]), dual.embed_texts(inputs[1])
        forward = counter.get_total_flops()
        sum(each.sum() for each in embeds).backward()
    return forward, counter.get_total_flops()


def test_operations_are_those_that_torch_counts_and_attention():
    """torch counts attention where it is plain products, and misses the CPU's kernel of it."""
    dual = models.dual(VIT, WORDS, 16)
    inputs = real(dual, 6)
    missed, rest = counted(dual, inputs, SDPBackend.FLASH_ATTENTION)
    forward, _ = counted(dual, inputs, SDPBackend.MATH)
    attention = forward - missed
    assert attention > 0
    traced = tracing.trace(dual, 6)
    # back, the kernel makes five products where forward there are two: the first of them again
    assert (traced.forward_flops, traced.flops) == (forward, rest + attention + 2.5 * attention)


def test_checkpointing_trades_memory_for_one_more_forward_of_the_blocks():
    plain, saving = (tracing.trace(models.dual(*names, 16), 8) for names in ((VIT, WORDS), SAVING))
    assert saving.peak < 0.7 * plain.peak
    assert plain.flops < saving.flops < plain.flops + plain.forward_flops


def test_the_peak_holds_no_gradient_but_the_one_that_is_made():
    dual = models.dual(VIT.replace("depth=3", "depth=8"), BAG, 16, device="meta")
    gradients = [4 * parameter.numel() for parameter in dual.parameters()]
    traced = tracing.trace(dual, 1)
    assert traced.peak < traced.saved + 2 * max(gradients) < traced.saved + sum(gradients) / 2


def test_memory_grows_with_the_batch_in_a_straight_line():
    dual = models.dual(VIT, WORDS, 16, device="meta")
    one, two, four = (tracing.trace(dual, batch).saved for batch in (1, 2, 4))
    assert four - two == 2 * (two - one)


SHARED = ("scratch:map?image=32&patch=16&width=16&depth=1&heads=2", "shared:pixels")


@pytest.mark.parametrize("names", [("timm:test_vit/random", WORDS), SHARED], ids=["two", "shared"])
def test_a_trace_leaves_the_pair_as_it_was(names):
    dual = models.dual(*names, 16).eval()
    dual.text.encoder.train()
    dual.text.named = True
    before, state = dual.checksum, torch.get_rng_state()
    tracing.trace(dual, 2, "bf16")
    assert dual.checksum == before
    assert not dual.training
    assert dual.text.encoder.training
    assert dual.text.named
    assert all(parameter.grad is None for parameter in dual.parameters())
    assert not any(parameter._post_accumulate_grad_hooks for parameter in dual.parameters())
    assert torch.equal(torch.get_rng_state(), state)


def test_a_frozen_image_tower_may_take_only_its_cached_features():
    locked = tracing.trace(models.dual("timm:test_vit/random", BAG, 16), 8, cached=True)
    width = models.image_tower("timm:test_vit/random").width
    assert locked.forward_flops == 8 * 2 * 16 * (width + 32)
    free = models.dual(VIT, WORDS, 16)
    assert tracing.trace(free, 8, cached=True) == tracing.trace(free, 8)  # nothing is frozen
    text = trainable.apply(free, "image=everything,text=locked")
    assert tracing.trace(text, 8, cached=True) == tracing.trace(text, 8)  # runs keep no texts


def frozen(dual):
    dual.image.freeze()
    return dual


def by_policy(dual):
    return trainable.apply(dual, "image=locked,text=everything")


@pytest.mark.parametrize("lock", [frozen, by_policy])
@pytest.mark.parametrize("names", PAIRS, ids=["vit", "dropped", "resnet", "checkpointed"])
def test_a_locked_tower_goes_forward_and_not_back(names, lock):
    dual = lock(models.dual(*names, 16)).train()
    traced, kept = tracing.trace(dual, 6), tracing.trace(dual, 6, cached=True)
    step, inputs = tracing.Step(dual), real(dual, 6)
    assert tracing.measured(step, dict(tracing.state(step)), inputs, "fp32") == traced
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        dual.image(inputs[0])
    assert traced.forward_flops - kept.forward_flops == counter.get_total_flops()
    assert traced.flops - traced.forward_flops == kept.flops - kept.forward_flops
    assert traced.inputs - kept.inputs == inputs[0].nbytes - 6 * dual.image.width * 4
    assert kept.peak <= traced.peak < tracing.trace(models.dual(*names, 16), 6).peak


def test_whoever_locks_a_tower_its_trace_is_the_same():
    one, other = (
        tracing.trace(lock(models.dual(VIT, WORDS, 16)), 4) for lock in (frozen, by_policy)
    )
    assert one == other


@pytest.mark.parametrize(("batch", "precision"), [(0, "fp32"), (2, "fp8"), (-1, "bf16")])
def test_impossible_steps_are_refused(batch, precision):
    with pytest.raises(ValueError, match="expected a precision of fp32, bf16, fp16 and batch >= 1"):
        tracing.trace(models.dual(VIT, BAG, 8, device="meta"), batch, precision)


def test_texts_that_are_packed_cannot_be_traced():
    image = "scratch:map?image=32&patch=16&width=16&depth=1&heads=2"
    whole, packed = (
        models.dual(image, f"shared:pixels?packed={way}", 8, device="meta")
        for way in ("false", "true")
    )
    assert tracing.trace(whole, 4).flops > 0
    with pytest.raises(ValueError, match="trace packed texts as whole pages"):
        tracing.trace(packed, 4)
