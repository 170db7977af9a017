"""Everything one image asks of the engine, and who asked for which of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from c2i_fast.perturb.baseline import Given
from c2i_fast.perturb.book import Book
from c2i_fast.perturb.curve import RankedMap, request_curve
from c2i_fast.protocols import CurveProtocol, Protocol
from c2i_fast.types import Doubles, Floats, Ints, PerturbationPlan, Preprocessing


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Request:
    """What one metric wants to know of one map: passes to be read, and a number beside each.

    Attributes:
        metric: who wants it.
        protocols: under which ones; the first is its rows'.
        x: float64 (m,), what belongs to each point: the x of a curve, the relevance of a subset, ….
        passes: int32 (m,), indices into the image's passes.
        lengths: how many points belong to each of the protocols.
        warnings: what a reader of the score should know of the map.
    """

    method: str
    metric: str
    protocols: tuple[Protocol, ...]
    x: Doubles
    passes: Ints
    lengths: tuple[int, ...]
    warnings: tuple[str, ...] = ()

    @property
    def protocol(self) -> Protocol:
        """The one its rows are known by."""
        return self.protocols[0]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ImagePlan:
    """Everything one image asks of the engine.

    Attributes:
        plans: what `select` is given.
        work: int32 (P, 2), one (plan, step) for each pass of `select`.
        direct: images of passes that no mask makes; they are numbered after those of `work`.
        perturbed_fraction: float64 (P + D,), λ of each pass.
        clean: the index of the pass that shows the unperturbed image.
        extra: passes no metric asked for (the target's, at most 1).
    """

    plans: tuple[PerturbationPlan, ...]
    work: Ints
    direct: tuple[Floats, ...]
    perturbed_fraction: Doubles
    clean: int
    extra: int
    requests: tuple[Request, ...]

    @property
    def requested(self) -> int:
        """The points of all curves and other requests, those that several metrics share counted once a map."""
        asked = {
            (request.method, protocol.hash()): length
            for request in self.requests
            for protocol, length in zip(request.protocols, request.lengths, strict=True)
        }
        return sum(asked.values())

    @property
    def passes(self) -> int:
        """The passes this image costs, the target's included."""
        return len(self.work) + len(self.direct)


def closed(book: Book, requests: Iterable[Request]) -> ImagePlan:
    """Returns the plan of an image from its book and what was asked for.

    The clean image is always among the passes: its logits name the target.
    """
    asked = list(requests)
    used = {int(index) for request in asked for index in request.passes}
    clean = book.clean()
    plans, work, direct, fractions, renumbered = book.close()
    return ImagePlan(
        plans=plans,
        work=work,
        direct=direct,
        perturbed_fraction=fractions,
        clean=int(renumbered(np.array([clean], np.int32))[0]),
        extra=int(clean not in used),
        requests=tuple(replace(request, passes=renumbered(request.passes)) for request in asked),
    )


def plan_image(
    image: Floats, maps: Mapping[str, Floats], protocols: Sequence[CurveProtocol], preprocessing: Preprocessing
) -> ImagePlan:
    """Returns the passes of one image (C, *space) for every curve of its maps (*space) and protocols.

    Example:
        >>> import numpy as np
        >>> protocol = CurveProtocol(name="c2i", metric="deletion", intervals=2)
        >>> plan = plan_image(np.ones((1, 4), np.float32), {"m": np.arange(4, dtype="f")}, [protocol], Preprocessing())
        >>> plan.perturbed_fraction.tolist()
        [0.0, 0.5, 1.0]
    """
    book = Book(given=Given(pixels=image, preprocessing=preprocessing))
    requests = []
    for method, saliency in maps.items():
        ranked = RankedMap(saliency=saliency)
        for protocol in protocols:
            x, passes, warnings = request_curve(book, ranked, protocol)
            requests.append(
                Request(
                    method=method,
                    metric=protocol.metric,
                    protocols=(protocol,),
                    x=x,
                    passes=passes,
                    lengths=(len(passes),),
                    warnings=warnings,
                )
            )
    return closed(book, requests)
