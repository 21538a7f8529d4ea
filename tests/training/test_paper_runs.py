"""The paper's own runs: what is stated, and what follows from it."""

import pytest

from towers.models import paper_models
from towers.training import paper_runs


def test_the_reached_share_of_the_peak_follows_from_days_and_devices():
    rows = {(row.model, row.metric): row.value for row in paper_runs.evaluate()}
    assert {model for model, _ in rows} == {"RN50x64", "ViT-L/14"}
    for name, devices, days in (("RN50x64", 592, 18), ("ViT-L/14", 256, 12)):
        flops = 3 * paper_models()[name].compute()["FLOPs"] * 32 * 400e6
        share = flops / (125e12 * devices * days * 86_400)
        assert rows[name, "utilisation"] == pytest.approx(share)
        assert rows[name, "pairs per device"] == 32_768 / devices
        assert rows[name, "memory per device (GB)"] > rows[name, "activations per device (GB)"]
    assert rows["RN50x64", "pairs per device"] % 1 > 0  # 592 does not divide the batch
    assert rows["RN50x64", "activations per device (GB)"] > rows["RN50x64", "device (GB)"]
