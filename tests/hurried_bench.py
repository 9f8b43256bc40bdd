"""A bench in a hurry: few calls and small products, for tests that are not about speed."""

import functools

from keras_mobilenet.deploy.bench import benchmarking, machine, plan

MOMENT = 1e-6  # seconds: as many calls as there must be


def hurry(monkeypatch):
    peak = functools.partial(machine.measured_peak, size=64, rounds=2)
    monkeypatch.setattr(benchmarking, "measured_peak", peak)
    monkeypatch.setattr(benchmarking, "WARM_UP", 1)
    monkeypatch.setattr(benchmarking, "LEAST", 2)
    monkeypatch.setattr(plan, "TURN", 2)
    monkeypatch.setattr(benchmarking, "GENERATED", 3)
