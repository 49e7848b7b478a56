"""T2.4 to T2.6 seen happening: what lambda does to converged minimisers, adaptive and frozen."""

from __future__ import annotations

from itertools import combinations

import pytest
import torch
from crossmodal.synthetic.arithmetic import arithmetic
from crossmodal.synthetic.encoders import Path, Worlds, clip_loss, descend, train, worlds
from crossmodal.synthetic.evaluate import judge
from crossmodal.theory import registry
from crossmodal.theory.errors import InputError

LAMBDAS = (0.0, 0.1, 0.3, 1.0, 3.0)
plain = arithmetic("plain")


@pytest.fixture(scope="module")
def path() -> Path:
    return train(worlds(0, 6), LAMBDAS)


def test_minimisers_are_found(path: Path) -> None:
    assert float(path.gradient.max()) < 1e-9
    assert float(path.curvature.min()) > 1e-4


def test_contrastive_loss_never_rises_with_lambda(path: Path) -> None:
    """T2.4 on all pairs of lambdas: its assumptions hold on the measured losses, and so does what it claims."""
    assert bool((path.contrastive.diff(dim=0) < -1e-4).all())
    assert bool((path.task.diff(dim=0) > 1e-4).all())
    claim = registry.get("T2.4")
    wanted = {"larger", "sign", "first", "second"}
    relations = [r for a in claim.statement.assumptions if a.name in wanted for r in a.relations]
    for low, high in combinations(range(len(LAMBDAS)), 2):
        numbers = {
            "A_1": path.task[low], "A_2": path.task[high], "B_1": path.contrastive[low], "B_2": path.contrastive[high],
            "lambda_1": torch.full((6,), LAMBDAS[low]), "lambda_2": torch.full((6,), LAMBDAS[high]),
        }  # fmt: skip
        values = {k: v.double()[:, None, None] for k, v in numbers.items()}
        for relation in (*relations, *(r for r in claim.statement.relations if r.name in ("contrastive", "task"))):
            assert judge(relation, values, plain).status == "holds", relation.text
        swapped = values | {"B_1": values["B_2"], "B_2": values["B_1"]}
        assert judge(claim.statement.relations[0], swapped, plain).status == "violated"


def test_alignment_rises_as_the_loss_falls(path: Path) -> None:
    """What T2.4 transfers to alignment, on these models: CLV and its excess over all pairs rise."""
    assert bool((path.alignment.diff(dim=0) > 0).all())
    assert bool((path.gap.diff(dim=0) > 0).all())


def test_slope_is_that_of_t2_5(path: Path) -> None:
    """dB/dlambda by differences of trained minimisers against -g' H^{-1} g."""
    h = 1e-4
    near = train(worlds(0, 6), (*LAMBDAS[:2], LAMBDAS[2] - h, LAMBDAS[2], LAMBDAS[2] + h))
    difference = (near.contrastive[4] - near.contrastive[2]) / (2 * h)
    assert torch.allclose(difference, near.rate[3], rtol=2e-3)
    assert not torch.allclose(difference, 1.05 * near.rate[3], rtol=2e-3)
    assert bool((path.rate < 0).all())


def test_frozen_encoders_do_not_move() -> None:
    """T2.6: not by one bit, while the head is trained."""
    frozen = train(worlds(0, 6), LAMBDAS, frozen=True)
    for row in frozen.alignment[1:]:
        assert torch.equal(row, frozen.alignment[0])
        assert torch.equal(frozen.contrastive[1], frozen.contrastive[0])
    assert float(frozen.gradient.max()) < 1e-9
    assert bool(
        (frozen.task < torch.log(torch.tensor(3.0)) - 0.01).all()
    )  # better than the zero head: something was learnt


def test_clip_loss_is_that_of_a_loop() -> None:
    data = worlds(3, 2, pairs=5)
    u, v = (x / x.norm(dim=-1, keepdim=True) for x in (data.image, data.text))
    for m in range(2):
        total = 0.0
        for a, b in ((u[m], v[m]), (v[m], u[m])):
            for i in range(5):
                scores = [2.0 * float(a[i] @ b[j]) for j in range(5)]
                total += float(torch.logsumexp(torch.tensor(scores), 0)) - scores[i]
        assert abs(total / 10 - float(clip_loss(u, v, 2.0)[m])) < 1e-6
    assert bool((clip_loss(u, v, 2.0) != clip_loss(u, v.flip(1), 2.0)).all())


def test_same_seed_same_bits() -> None:
    first, again = (train(worlds(1, 2), (0.0, 0.5)) for _ in range(2))
    assert torch.equal(first.task, again.task)
    with pytest.raises(InputError, match="decay 0"):
        train(worlds(1, 2), (0.0,), decay=0.0)


def frozen_head(data: Worlds, m: int, w: torch.Tensor, decay: float) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The oracle: A of a head on frozen encoders, u and v, typed apart; encoders are drawn as `train` draws them."""
    generator = torch.Generator().manual_seed(0)
    drawn = [torch.randn(len(data.image), 4, 4, generator=generator, dtype=torch.float64) for _ in range(2)]
    u, v = (x[m] @ torch.linalg.qr(f[m])[0] for x, f in zip((data.image, data.text), drawn, strict=True))
    u, v = (x / torch.sqrt(0.25 + (x * x).sum(1))[:, None] for x in (u, v))
    entropy = torch.nn.functional.cross_entropy(u @ w, data.target[m].argmax(1))
    return entropy + decay / 2 * (w * w).sum(), u, v


def test_numbers_of_a_path_against_autograd() -> None:
    """Frozen encoders leave a convex problem in the head: values, gradient and curvature of the path by other means."""
    data, decay = worlds(4, 2), 0.3
    begun = train(data, (0.0,), frozen=True, steps=0, decay=decay)
    done = train(data, (0.0,), frozen=True, decay=decay)
    for m in range(2):
        w = torch.zeros(4, 3, dtype=torch.float64, requires_grad=True)
        value, u, v = frozen_head(data, m, w, decay)
        slope = torch.autograd.grad(value, w)[0]
        assert abs(float(begun.task[0, m] - value.detach())) < 1e-14
        assert abs(float(begun.gradient[0, m] - slope.abs().max())) < 1e-14
        assert abs(float(begun.alignment[0, m] - (u * v).sum() / len(u))) < 1e-14
        assert abs(float(begun.gap[0, m] - ((u * v).sum() / len(u) - (u @ v.T).mean()))) < 1e-14
        assert abs(float(begun.contrastive[0, m] - clip_loss(u, v, 2.0))) < 1e-14
        search = torch.optim.LBFGS([w], max_iter=200, tolerance_grad=1e-11, line_search_fn="strong_wolfe")

        def closure(m: int = m, w: torch.Tensor = w, search: torch.optim.LBFGS = search) -> torch.Tensor:
            search.zero_grad()
            loss = frozen_head(data, m, w, decay)[0]
            loss.backward()
            return loss

        search.step(closure)
        assert abs(float(done.task[0, m] - frozen_head(data, m, w.detach(), decay)[0])) < 1e-9
        hessian = torch.autograd.functional.hessian(lambda x, m=m: frozen_head(data, m, x, decay)[0], w.detach())
        smallest = torch.linalg.eigvalsh(hessian.reshape(12, 12))[0]
        assert abs(float(done.curvature[0, m] - smallest)) < 1e-6
        assert float(done.rate[0, m]) == 0  # B does not depend on the head


def test_descent_halves_each_model_apart() -> None:
    """Values are a_m x^2: one model takes its whole step, one halves it, one goes uphill and stays."""
    a = torch.tensor([0.5, 4.0, 1.0], dtype=torch.float64)
    x, step = torch.full((3, 1), 0.5, dtype=torch.float64), torch.tensor([[-0.4], [-1.0], [0.5]], dtype=torch.float64)
    found = descend(x, step, 2 * a[:, None] * x, lambda z: a * z[:, 0] ** 2)
    assert found[0, 0] == 0.5 - 0.4
    assert found[1, 0] == 0  # the whole step leads to -1/2, which is not lower
    assert found[2, 0] == 0.5
    far = descend(torch.tensor([[9.0]]), torch.tensor([[-6.0]]), torch.tensor([[18.0]]), lambda z: z[:, 0] ** 2)
    assert far[0, 0] == 8  # no step is longer than 1


def test_sizes_of_random_data() -> None:
    """Class and shared part have variance 1 each, and so in every coordinate seen; noise adds its own."""
    data = worlds(7, 4000, noise=0.5)
    for x in (data.image, data.text):
        assert abs(float(x.square().mean()) - 2.25) < 0.1
    assert data.target[0].sum(0).tolist() == [4, 4, 4]
    alike = (data.image[:, 0] * data.image[:, 3]).mean() - (data.image[:, 0] * data.image[:, 1]).mean()
    assert 0.9 < float(alike) < 1.1  # pairs of one class share the class part alone
