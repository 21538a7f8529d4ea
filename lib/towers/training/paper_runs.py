"""What the paper says that its largest models took to train, beside what can be counted.

Source: Radford et al. 2021, section 2.5.
"""

from towers.models.paper import PAIRS, PaperModel, paper_models
from towers.records import Measurement
from towers.training.budget import ACCELERATORS, DAY, GB
from towers.training.planning import plan

DEVICE = ACCELERATORS["V100-32GB"]


def evaluate() -> list[Measurement]:
    """Devices, days, memory and the reached share of the peak, of the runs that the paper states.

    The utilisation takes three times the way forward for an update; what the authors computed twice
    to save memory is not in it. Memory is planned with checkpointing of all Transformers.
    """
    return [
        Measurement(model=model.name, data=DEVICE.name, metric=metric, value=float(value), n=1)
        for model in paper_models().values()
        if model.days
        for metric, value in _values(model).items()
    ]


def _values(model: PaperModel) -> dict[str, float]:
    batch = model.batch // model.devices * model.devices  # ranks of a plan share evenly
    planned = plan(
        model.build(), batch, model.epochs * PAIRS, ranks=model.devices, precision="fp16",
        accelerator=DEVICE, checkpointing=True,
    )  # fmt: skip
    computed = 3 * model.compute()["FLOPs"] * model.epochs * PAIRS
    peak = DEVICE.flops["fp16"] * model.devices * model.days * DAY
    return {
        "devices": model.devices,
        "days": model.days,
        "pairs per device": model.batch / model.devices,
        "utilisation": computed / peak,
        "activations per device (GB)": planned.activations / GB,
        "memory per device (GB)": planned.memory / GB,
        "device (GB)": DEVICE.memory / GB,
    }
