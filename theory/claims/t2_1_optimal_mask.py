"""T2.1: the best binary mask keeps what is positive; with a budget, the largest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sympy import Symbol

from ..claim import Assumption, Claim, Statement
from ..language import Inner, Input, Instance, Recursion, Relation, scalars, unit, vectors
from ..proof import Proof, square

kept, upper, used, budget, price, lost = scalars("S R M k tau W")
best, spent = scalars("S_best M_best")
m, r, chosen = scalars("m r m_best")
g, h = vectors("g h")
a = Inner(g, h)

STATEMENT = Statement(
    text="Over masks with entries in [0, 1] (binary ones among them) that keep at most k blocks, sum m_i <g_i, h_i> <= sum max(<g_i, h_i> - tau, 0) "
    "+ tau k for every tau >= 0.  With tau = 0 the bound is the sum of the positive products, attained by keeping exactly the blocks with "
    "positive product, if k allows it; with tau the k-th largest product, where that is not negative, it is attained by keeping the k largest: a mask that "
    "keeps what is above tau and nothing below, M_best blocks in all, has sum max(<g_i, h_i> - tau, 0) + tau M_best, and no mask does better with M_best blocks, nor, "
    "for tau = 0, with any number.  What any mask falls short of its bound, at its own number of blocks, is W, the sum of "
    "(1 - m_i) r_i + m_i (r_i - <g_i, h_i> + tau) with r_i = max(<g_i, h_i> - tau, 0), no term of which is negative: the bound is attained only by masks that keep all "
    "of what is above tau and nothing of what is below.",
    relations=(
        Relation("bound", kept, "<=", upper + price * budget),
        Relation("attained", best, "==", upper + price * spent),
        Relation("optimal", kept, "<=", best + price * (budget - spent)),
        Relation("short", upper + price * used - kept, "==", lost),
    ),
    assumptions=(
        Assumption("budget", "at most k blocks are kept", (Relation("", used, "<=", budget),)),
        Assumption("price", "tau is not negative", (Relation("", 0, "<=", price),)),
        Assumption("mask", "entries of the mask lie in [0, 1]", (), True, ("low", "high")),
        Assumption("positive_part", "r = max(<g, h> - tau, 0), of which only the lower bound is needed", (), True, ("positive", "above")),
        Assumption("best", "m_best keeps what is above tau and nothing below it (blocks at tau either way): m_best (<g, h> - tau) = max(<g, h> - tau, 0)", (),
                   True, ("selected",)),
    ),
    symbols={"S": "objective of the mask", "k": "blocks that may be kept", "tau": "price of a block, no temperature", "R": "sum of max(product - tau, 0)", "M": "number of blocks kept", "g": "gradient on s, one block",
             "h": "gradient on t, one block", "m": "mask of the block", "r": "max(product - tau, 0)", "m_best": "the best mask", "S_best": "its objective",
             "M_best": "number of blocks it keeps", "W": "what the mask gives away: of blocks above tau, and to blocks below"},
    recursions={
        "blocks": Recursion(
            start={kept: 0, upper: 0, used: 0, best: 0, spent: 0, lost: 0},
            update={kept: kept + m * a, upper: upper + r, used: used + m, best: best + chosen * a, spent: spent + chosen,
                    lost: lost + (1 - m) * r + m * (r - a + price)}, fresh=(m, r, chosen, g, h),
            given={"low": Relation("", 0, "<=", m), "high": Relation("", m, "<=", 1), "positive": Relation("", 0, "<=", r),
                   "above": Relation("", a - price, "<=", r), "selected": Relation("", chosen * (a - price), "==", r)},
        ),
    },
)  # fmt: skip


def derive(p: Proof) -> None:
    def start(p: Proof, name: str, goal: Any) -> None:
        p.positive(name, goal, terms=[], text="nothing is kept yet")

    def step(p: Proof, name: str, goal: Any) -> None:
        one_less = 1 - Symbol("m", real=True)
        p.positive(f"{name}.rest", one_less, terms=[square(facts=["high"])], text="1 - m >= 0")
        p.positive(name, goal, terms=[square(facts=["hypothesis"]), square(facts=["low", "above"]), square(facts=[f"{name}.rest", "positive"])],
                   text="a block adds m (r - a + tau) + (1 - m) r")  # fmt: skip

    p.induction("dual", upper + price * used - kept, recursion="blocks", relation=">=0", base=start, step=step,
                text="for every number of blocks, kept or not")  # fmt: skip
    p.positive(
        "spend",
        price * budget - price * used,
        terms=[square(facts=["price", "budget"])],
        text="the budget at price tau",
    )
    p.positive("bound", terms=[square(facts=["dual"]), square(facts=["spend"])], text="add")
    p.induction(
        "attained", recursion="blocks",
        base=lambda p, name, goal: p.ideal(name, goal, using=[], text="no block yet"),
        step=lambda p, name, goal: p.ideal(name, goal, using=["hypothesis", "selected"], eliminate=[r], text="a block adds r + tau m_best"),
        text="what is kept above tau is all that is above tau",
    )  # fmt: skip
    p.induction(
        "short", recursion="blocks",
        base=lambda p, name, goal: p.ideal(name, goal, using=[], text="no block yet"),
        step=lambda p, name, goal: p.ideal(name, goal, using=["hypothesis"], text="a block adds (1 - m) r + m (r - a + tau)"),
        text="block by block",
    )  # fmt: skip
    p.positive(
        "optimal",
        terms=[square(facts=["bound"])],
        using=["attained"],
        eliminate=[best],
        text="put the objective of the best mask",
    )


def bind(x: Mapping[str, Any], ops: Any) -> dict[str, Any]:
    products = ops.diagonal(x["g"] @ ops.T(x["h"]))
    count = ops.rows(x["g"])
    price_ = x["tau"]
    mask = x["mask"] if "mask" in x else ops.positive(x["pick"])  # any binary mask
    over, above = ops.maximum(products - price_, products * 0), ops.positive(products - price_)
    one = ops.ones(count, 1, x["g"])
    total = mask @ one
    spare, off = over * (1 - mask), mask * (over - products + price_)
    return {
        "W": (spare + off) @ one, "S": mask @ ops.T(products), "R": over @ one, "M": total, "k": x.get("k", total), "tau": price_, "S_best": above @ ops.T(products),
        "M_best": above @ one,
    }  # fmt: skip


TWO = {"g": unit([1, 0], [1, 0]), "h": unit([2, 0], [-1, 0])}

CLAIM = Claim(
    id="T2.1",
    title="The optimal mask keeps the positive products",
    family="contribution balance",
    source="new; weak duality of the budgeted selection",
    paper="The optimal binary gradient mask is obtained by scaling the cross-modal scores.",
    statement=STATEMENT,
    inputs=(
        Input("g", "rows", "n", "d"),
        Input("h", "rows", "n", "d"),
        Input("pick", "rows", "1", "n"),
        Input("tau", "real", low="0"),
    ),
    bind=bind,
    derive=derive,
    tight=(
        Instance({**TWO, "tau": [[0]], "pick": [[1, -1]]}, "no budget: keep the positive product", "bound"),
        Instance(
            {"g": unit([1], [1], [1]), "h": unit([3], [2], [1]), "tau": [[2]], "pick": [[1, 1, -1]], "k": [[2]]},
            "budget 2: keep the two largest",
            "bound",
        ),
    ),
    necessity={
        "budget": Instance(
            {"g": unit([1], [1]), "h": unit([3], [3]), "tau": [[3]], "mask": [[1, 1]], "k": [[1]]},
            "two kept, one allowed",
            "bound",
        ),
        "price": Instance(
            {"g": unit([1]), "h": unit([1]), "tau": [[-1]], "mask": [[0]], "k": [[9]]}, "a negative price", "bound"
        ),
    },
    features_note="a statement about gradients of two losses; see T1.3 for gradients on features",
)
