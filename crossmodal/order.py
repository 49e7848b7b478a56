"""`crossmodal order`."""

from __future__ import annotations

from pathlib import Path

from crossmodal.vlm_validation.features import load_features
from crossmodal.vlm_validation.order_oracle import recommend_order

from . import terminal


def order(file: Path, normalise: bool, seed: int, json_path: Path | None) -> None:
    """Print the recommended order, what it is predicted to forget, and why; write JSON where asked."""
    features = load_features(file, normalise=normalise)
    found = recommend_order(features, seed=seed)
    if json_path is not None:
        terminal.write_json(json_path, found.to_dict())
        if str(json_path) == "-":
            return
    rows = [[k + 1, name] for k, name in enumerate(found.named_order)]
    terminal.table(f"recommended order of {len(rows)} environments", [("", "right"), ("environment", "left")], rows)
    low, high = found.interval
    scope = "all" if found.exhaustive else "a local search over"
    print(
        f"predicted forgetting {found.predicted:.3f} nats (90 % interval over resampled data {low:.3f} to {high:.3f}); file order {found.neutral:.3f}, "
        f"worst {found.worst:.3f}; {scope} {len(found.orders)} orders; within 1 % of the best in {100 * found.stability:.0f} % of resamples"
    )
    print(found.reason)
    print(
        "The differences between orders are what is predicted; what prototypes leave out of a class makes all levels some percent too low."
    )
    for note in features.notes:
        print(f"note: {note}")
