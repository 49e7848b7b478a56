"""Lazy imports, the choice of an implementation, the configuration cache, and the CUDA graph helper on the CPU."""

from __future__ import annotations

import contextlib
import json
import logging
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import torch
from crossmodal.kernels import (
    FeatureMoments,
    GraphedCall,
    autotune,
    coalition_head,
    dispatch,
    moments,
    pair_lse,
    segment_attention,
    stream_marginals,
    stream_moments,
)
from crossmodal.kernels.baselines import permutations
from crossmodal.kernels.fused import _present
from crossmodal.theory.errors import InputError
from torch._subclasses.fake_tensor import FakeTensorMode

from crossmodal import kernels

CPU = torch.device("cpu")


def test_import_is_lazy() -> None:
    code = (
        "import sys, crossmodal.kernels as k; dir(k);"
        "print([m for m in ('torch', 'triton', 'transformers', 'numpy') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_operations_import_neither_triton_nor_transformers() -> None:
    code = (
        "import sys, torch; from crossmodal.kernels import pair_lse, moments, segment_attention, coalition_head;"
        "x = torch.ones(600, 4); pair_lse(x, x); moments(x, x);"
        "print([m for m in ('triton', 'transformers') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


def test_public_names_exist_and_are_documented() -> None:
    assert {"moments", "pair_lse", "coalition_head", "segment_attention"} <= set(kernels.__all__)
    for name in kernels.__all__:
        assert getattr(kernels, name).__doc__, name
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = kernels.no_such_name


def test_falls_back_with_one_line(caplog) -> None:
    dispatch.say_once.cache_clear()
    x = torch.ones(600, 4)
    with caplog.at_level(logging.WARNING, logger="crossmodal.kernels"):
        for _ in range(3):
            pair_lse(x, x)
    (record,) = caplog.records
    assert "using the torch implementations" in record.message
    assert "\n" not in record.message


def test_what_triton_needs(monkeypatch) -> None:
    monkeypatch.setattr(dispatch, "triton_installed", lambda: True)
    monkeypatch.setattr(dispatch, "triton_too_old", lambda: "")
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    assert "CUDA" in dispatch.missing_for_triton(CPU)
    assert dispatch.missing_for_triton(torch.device("cuda")) == ""
    assert dispatch.resolve("op", "auto", torch.device("cuda")) == "triton"
    assert dispatch.resolve("op", "triton", torch.device("cuda")) == "triton"
    assert dispatch.resolve("op", "auto", CPU) == "torch"
    assert [dispatch.resolve("op", impl, CPU) for impl in ("torch", "naive")] == ["torch", "naive"]
    monkeypatch.setenv("TRITON_INTERPRET", "1")
    assert dispatch.missing_for_triton(CPU) == ""
    assert dispatch.resolve("op", "triton", CPU) == "triton"
    for device in (CPU, torch.device("cuda")):  # the interpreter is for whoever asks for it, it is very slow
        assert dispatch.resolve("op", "auto", device) == "torch"
    monkeypatch.setattr(dispatch, "triton_installed", lambda: False)
    assert dispatch.resolve("op", "auto", torch.device("cuda")) == "torch"
    with pytest.raises(InputError, match="not installed"):
        dispatch.resolve("op", "triton", torch.device("cuda"))
    with pytest.raises(InputError, match="impl='fast'"):
        dispatch.resolve("op", "fast", CPU)


@pytest.mark.parametrize(
    ("version", "old"), [("3.2.0", True), ("3.6.0", False), ("3.10.0+git1", False), ("4.0", False)]
)
def test_a_triton_that_nobody_compiled_with_is_not_taken(monkeypatch, version, old) -> None:
    """torch 2.6 brings Triton 3.2, and a resolver leaves it there."""
    monkeypatch.setattr(dispatch, "triton_installed", lambda: True)
    monkeypatch.setattr(dispatch, "triton_too_old", dispatch.triton_too_old.__wrapped__)
    monkeypatch.setattr(dispatch.metadata, "version", lambda _name: version)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)
    cuda = torch.device("cuda")
    assert dispatch.resolve("op", "auto", cuda) == ("torch" if old else "triton")
    if old:
        with pytest.raises(InputError, match=f"Triton {version} is older than 3.6"):
            dispatch.resolve("op", "triton", cuda)


@pytest.mark.parametrize("impl", ["torch", "naive"])
def test_autocast_does_not_reach_the_operations(unit, impl) -> None:
    """Autocast would round the products inside to bfloat16: an error of 0.3 in a log-sum-exp at CLIP's temperature."""
    u, v, labels = unit(40, 16), unit(40, 16), torch.arange(40) % 8
    q, k = unit(12, 16).view(1, 2, 6, 16), unit(20, 16).view(1, 2, 10, 16)

    def everything() -> list[torch.Tensor]:
        a, b = u.clone().requires_grad_(), v.clone().requires_grad_()
        out = pair_lse(a, b, 100.0, impl=impl)
        total = out.row_lse.sum() + out.col_lse.square().sum()
        # autograd itself runs the naive form's backward, under whatever is active where it is asked for
        grads = torch.autograd.grad(total, (a, b)) if impl == "torch" else ()
        head = coalition_head(u, v, u[:8], v[:8], labels, text_baseline=v[0], impl=impl)
        attention = segment_attention(q, k, k, (0, 4, 10), impl=impl)[:2]
        features = FeatureMoments.of(u)
        streamed = (*stream_moments(u.numpy(), v.numpy(), rows=16), *stream_marginals(u.numpy(), v.numpy()))
        return [*out, *grads, *head, *attention, *moments(u, v, impl=impl), features.mean, features.scatter, *streamed]

    plain = everything()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        inside = everything()
        assert torch.is_autocast_enabled("cpu")
        assert (u @ v.T).dtype == torch.bfloat16
    assert all(a.dtype == b.dtype and torch.equal(a, b) for a, b in zip(plain, inside, strict=True))


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("CROSSMODAL_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "kernels.json"


def test_default_configuration_until_tuned(cache) -> None:
    default = {"BLOCK": 64, "num_warps": 4}
    assert autotune.choose("op", (100, 30), torch.float32, CPU, default) == default
    assert not cache.exists()


def test_tuning_is_stored_and_deterministic(cache) -> None:
    candidates = [{"BLOCK": 64}, {"BLOCK": 128}, {"BLOCK": 256}]
    calls: list[int] = []

    def run(config: dict[str, int]) -> None:
        calls.append(config["BLOCK"])
        if config["BLOCK"] == 256:
            raise RuntimeError("out of resource: shared memory")
        torch.ones(40_000_000 if config["BLOCK"] == 64 else 10).sum()

    entry = autotune.tune("op", (100, 30), torch.float32, CPU, candidates, run, repeats=3)
    assert entry["config"] == {"BLOCK": 128}
    assert [set(t) for t in entry["tried"]] == [{"config", "ms", "compile_s"}] * 2 + [{"config", "error"}]
    before = len(calls)
    for shape in ((100, 30), (65, 17), (128, 32)):  # one bucket
        assert autotune.choose("op", shape, torch.float32, CPU, {"BLOCK": 64}) == {"BLOCK": 128}
    assert len(calls) == before
    for shape, dtype in (((129, 32), torch.float32), ((100, 30), torch.bfloat16)):
        assert autotune.choose("op", shape, dtype, CPU, {"BLOCK": 64}) == {"BLOCK": 64}
    autotune.tune("other", (1,), torch.float32, CPU, candidates[1:2], run, repeats=1)
    chosen = autotune.choose("other", (1,), torch.float32, CPU, {"BLOCK": 64})
    assert chosen == {"BLOCK": 128}
    chosen["BLOCK"] = 1  # the caller's own copy
    assert autotune.choose("other", (1,), torch.float32, CPU, {"BLOCK": 64}) == {"BLOCK": 128}
    assert len(json.loads(cache.read_text())) == 2
    assert {p.name for p in cache.parent.iterdir()} == {"kernels.json", "kernels.json.lock"}  # no temporary file


def test_the_median_counts_and_the_first_call_compiles(cache, monkeypatch) -> None:
    times = iter([5.0, 1.0, 3.0, 2.0, 4.0, 0.5, 3.0, 3.0])
    monkeypatch.setattr(autotune, "_timed", lambda run, config, device: next(times))
    entry = autotune.tune("op", (1,), torch.float32, CPU, [{"B": 1}, {"B": 2}], lambda c: None, repeats=3)
    assert entry["config"] == {"B": 1}
    assert [(t["ms"], t["compile_s"]) for t in entry["tried"]] == [(2000.0, 3.0), (3000.0, 1.0)]


def test_another_version_is_another_entry(monkeypatch) -> None:
    found = {autotune.key("op", (1,), torch.float32, CPU)}
    monkeypatch.setattr(autotune, "_triton_version", lambda: "0.0")
    found.add(autotune.key("op", (1,), torch.float32, CPU))
    monkeypatch.setattr(torch, "__version__", "0.0")
    found.add(autotune.key("op", (1,), torch.float32, CPU))
    assert len(found) == 3


def test_equal_candidates_keep_the_first(cache) -> None:
    times = iter([1.0, 1.0, 0.99, 0.99] * 10)
    original = autotune._timed
    try:
        autotune._timed = lambda run, config, device: next(times)
        entry = autotune.tune("op", (1,), torch.float32, CPU, [{"B": 1}, {"B": 2}], lambda c: None, repeats=1)
    finally:
        autotune._timed = original
    assert entry["config"] == {"B": 1}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"x": 3}',
        '{"x": null}',
        '{"x": {"config": 3}}',
        '{"x": {"config": null}}',
        '{"x": {"config": {"BLOCK": -1}}}',
        '{"x": {"config": {"BLOCK": 0}}}',
        '{"x": {"config": {"BLOCK": true}}}',
        '{"x": {"config": {"BLOCK": 32.0}}}',
        '{"x": {"config": {"BLOCK": 32, "OTHER": 1}}}',
        '{"x": {"config": {}}}',
    ],
)
def test_a_torn_cache_costs_nothing_but_speed(cache, text) -> None:
    cache.parent.mkdir()
    name = autotune.key("op", (1,), torch.float32, CPU)
    cache.write_text(text.replace('"x"', json.dumps(name)))
    assert autotune.choose("op", (1,), torch.float32, CPU, {"BLOCK": 64}) == {"BLOCK": 64}


def test_nothing_runs_is_an_error(cache) -> None:
    def run(config: dict[str, int]) -> None:
        raise RuntimeError("no")

    with pytest.raises(
        InputError, match="no configuration of op runs on cpu; the first says: RuntimeError: no"
    ) as error:
        autotune.tune("op", (1,), torch.float32, CPU, [{"BLOCK": 64}], run)
    assert all(word in str(error.value) for word in ("expected", "likely cause", "fix"))
    with pytest.raises(InputError, match="0 candidates"):
        autotune.tune("op", (1,), torch.float32, CPU, [], run)


@pytest.mark.parametrize("repeats", [0, 2.5])
def test_no_timed_run_is_refused(cache, repeats) -> None:
    with pytest.raises(InputError, match=f"{repeats} timed runs") as error:
        autotune.tune("op", (1,), torch.float32, CPU, [{"BLOCK": 64}], lambda c: None, repeats=repeats)
    assert all(word in str(error.value) for word in ("expected", "likely cause", "fix"))


@pytest.mark.parametrize("files", ["locked", "on a system without locks"])
def test_threads_that_tune_at_once_lose_no_entry(cache, monkeypatch, files) -> None:
    if files != "locked":
        monkeypatch.setattr(autotune, "_alone", contextlib.nullcontext)
    write = autotune.write_whole
    monkeypatch.setattr(
        autotune, "write_whole", lambda *a: (time.sleep(0.01), write(*a))
    )  # between reading and writing

    def tune(number: int) -> None:
        autotune.tune(f"op{number}", (1,), torch.float32, CPU, [{"B": np.int64(7)}], lambda c: None, repeats=1)

    threads = [threading.Thread(target=tune, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(cache.read_text())) == 6
    for number in range(6):  # whatever was read before, within one tick of the clock
        assert autotune.choose(f"op{number}", (1,), torch.float32, CPU, {"B": 1}) == {"B": 7}


def test_processes_that_tune_at_once_lose_no_entry(cache) -> None:
    code = """
import sys, time, torch
from crossmodal.kernels import autotune
write = autotune.write_whole
autotune.write_whole = lambda *a: (time.sleep(0.01), write(*a))
for number in range(10):
    autotune.tune(sys.argv[1] + str(number), (1,), torch.float32, torch.device("cpu"), [{"B": 7}], len, repeats=1)
"""
    running = [subprocess.Popen([sys.executable, "-c", code, name]) for name in "ab"]
    assert [process.wait() for process in running] == [0, 0]
    assert len(json.loads(cache.read_text())) == 20


def test_a_cache_that_cannot_be_written_is_explained(monkeypatch) -> None:
    monkeypatch.setenv("CROSSMODAL_CACHE", "/proc/nowhere")
    with pytest.raises(InputError, match="cannot be written"):
        autotune.tune("op", (1,), torch.float32, CPU, [{"B": 7}], lambda c: None, repeats=1)


def test_buckets() -> None:
    assert autotune.bucket((1, 2, 3, 64, 65)) == (1, 2, 4, 64, 128)


def test_graphed_call_on_the_cpu_is_an_ordinary_call() -> None:
    call = GraphedCall(lambda a, b: tuple(moments(a, b)), torch.ones(4, 3), torch.ones(5, 3))
    assert not call.graphed
    a, b = torch.randn(4, 3), torch.randn(5, 3)
    assert all(torch.equal(x, y) for x, y in zip(call(a, b), moments(a, b), strict=True))
    with pytest.raises(InputError, match="smaller than the others"):
        call(a[:3], b)
    for bad in (lambda: call(a, 3.0), lambda: GraphedCall(moments, a, 3.0), lambda: call(a.numpy(), b)):
        with pytest.raises(InputError, match="tensors only"):
            bad()


def test_tensors_on_two_gpus_are_no_graph(monkeypatch) -> None:
    """There are no two GPUs here: what is recorded is told instead."""
    recorded: list[torch.device] = []
    monkeypatch.setattr(GraphedCall, "_record", lambda self, warmup: recorded.append(self.example[0].device))
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())
    with FakeTensorMode():
        first, second = (torch.empty(2, device=f"cuda:{index}") for index in (0, 1))
        assert not GraphedCall(torch.add, first, second).graphed
        assert GraphedCall(torch.add, second, second).graphed
    assert recorded == [torch.device("cuda:1")]


def test_a_graph_reads_its_own_inputs_in_place() -> None:
    """Copying q, k and v takes as long as attention to them.  There is no GPU here: the graph is a stand-in."""

    class Graph:
        def replay(self) -> None:
            pass

    call = GraphedCall(torch.neg, torch.ones(2))
    call.graphed, call.graph, call.output = True, Graph(), None
    for arguments, copies in ((call.example, 0), ((torch.ones(2),), 1)):
        before = call.example[0]._version
        call(*arguments)
        assert call.example[0]._version - before == copies


def test_a_default_device_changes_nothing(unit) -> None:
    """Every tensor an operation makes says where: the default device may be another than its arguments'."""
    u, v = unit(3000, 16), unit(300, 16)
    labels, q, k = torch.arange(300) % 8, unit(12, 16).view(1, 2, 6, 16), unit(20, 16).view(1, 2, 10, 16)
    keep = torch.arange(10)[None] != 3

    def everything() -> list[torch.Tensor]:
        head = coalition_head(v, v, u[:8], u[:8], labels, impl="torch")
        attention = segment_attention(q, k, k, (0, 4, 10), keep=keep, impl="torch")[:2]
        streamed = (*stream_moments(u.numpy(), v.numpy()), *stream_marginals(u.numpy(), v.numpy()))
        pairs = pair_lse(u, v, 9.0, impl="torch")
        others = (*permutations(5, seed=1), _present([("image",), ()]))
        return [*head, *attention, *streamed, *moments(u, v, impl="torch"), *pairs, *others]

    plain = everything()
    with torch.device("meta"):
        inside = everything()
        assert torch.empty(0).is_meta
    assert all(torch.equal(a, b) for a, b in zip(plain, inside, strict=True))


def test_launches_are_on_the_device_of_the_tensors(monkeypatch) -> None:
    seen: list[torch.device] = []
    monkeypatch.setattr(torch.cuda, "device", lambda device: (seen.append(device), contextlib.nullcontext())[1])
    with FakeTensorMode():
        with dispatch.on_device_of(torch.empty(2, device="cuda:1")):
            pass
        with dispatch.on_device_of(torch.empty(2, device="cpu")):
            pass
    assert seen == [torch.device("cuda:1")]
