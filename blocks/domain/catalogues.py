"""What can be chosen from: instance types (flavors), images, provided algorithms; a user's own on top of ours."""

import math
import re
from collections.abc import Iterable, Sequence
from typing import Any, TypeVar

import yaml
from pydantic import Field, ValidationError, model_validator

from blocks.domain.algorithms import ALGORITHMS, ProvidedAlgorithmEntry
from blocks.domain.errors import InvalidInputError
from blocks.domain.images import CATALOGUE_NAME, IMAGES, CoreType, Framework, Image
from blocks.domain.plan import Frozen, PodShape, Resources
from blocks.domain.quantities import quantity
from blocks.domain.specs import DEFAULT_IMAGE, ProvidedAlgorithm, TrainingSpec

__all__ = ["BUILT_IN", "Catalogue", "CoreType", "Flavor", "Framework", "Image", "load_catalogue"]


_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?")
_PREFIX = re.compile(r"[a-z0-9](?:[a-z0-9.-]{0,251}[a-z0-9])?")


class Flavor(Frozen):
    """An instance type: what each worker gets; `pod` says what it stands for on Kubernetes beside that."""

    name: str = Field(pattern=CATALOGUE_NAME)
    core_type: CoreType = CoreType.CPU
    vcpus: float = Field(gt=0)
    memory_mib: int = Field(gt=0)
    gpus: int = Field(default=0, ge=0)
    pod: PodShape = PodShape()

    @model_validator(mode="after")
    def _may_use_what_it_asks_for(self) -> "Flavor":
        """Kubernetes refuses other pods, with words in which nobody finds the catalogue again."""
        own = {"cpu": f"{self.vcpus:g}", "memory": f"{self.memory_mib}Mi", self.pod.gpu_resource: str(self.gpus)}
        most = own | self.pod.limits
        amounts = {name: self._amount(name, text) for name, text in most.items()}
        for name, text in (own | self.pod.requests).items():
            if self._amount(name, text) > amounts.get(name, math.inf):
                raise ValueError(
                    f"a pod of the flavor {self.name} asks for {text} of {name} and may use {most[name]}: "
                    "correct pod.requests or pod.limits, or what the flavor gives"
                )
        return self

    @model_validator(mode="after")
    def _chooses_by_labels(self) -> "Flavor":
        for label, value in self.pod.node_selector.items():
            prefix, _, name = label.rpartition("/")
            good = _NAME.fullmatch(name) and ("/" not in label or _PREFIX.fullmatch(prefix))
            if not good or (value and not _NAME.fullmatch(value)):
                raise ValueError(
                    f"pod.node_selector of the flavor {self.name}, {label}: {value}, is no label that a node can have, "
                    "such as example.com/disk: ssd"
                )
        return self

    def _amount(self, name: str, text: str) -> float:
        amount = quantity(text)
        if amount is None or amount < 0:
            raise ValueError(f"{name} of a pod of the flavor {self.name}, {text!r}, is no quantity such as 500m or 2Gi")
        return amount

    @property
    def resources(self) -> Resources:
        """The same, as a plan says it."""
        return Resources(vcpus=self.vcpus, memory_mib=self.memory_mib, gpus=self.gpus)


def _cpu(vcpus: int, gib: int) -> Flavor:
    return Flavor(name=f"c{vcpus}m{gib}", vcpus=vcpus, memory_mib=gib * 1024)


def _gpu(gpus: int, vcpus: int, gib: int) -> Flavor:
    name = f"g{gpus}c{vcpus}m{gib}"
    return Flavor(name=name, core_type=CoreType.GPU, vcpus=vcpus, memory_mib=gib * 1024, gpus=gpus)


FLAVORS = (
    _cpu(1, 2),
    _cpu(1, 4),
    _cpu(2, 4),
    _cpu(2, 8),
    _cpu(4, 8),
    _cpu(4, 16),
    _cpu(8, 16),
    _cpu(8, 32),
    _cpu(16, 64),
    _gpu(1, 4, 16),
    _gpu(1, 8, 32),
    _gpu(2, 16, 64),
    _gpu(4, 32, 128),
    _gpu(8, 64, 256),
)
"""Named by vCPUs and GiB of memory; the first one is the default."""

ItemT = TypeVar("ItemT", Flavor, Image, ProvidedAlgorithmEntry)


class Catalogue(Frozen):
    """All that an installation offers, each kind by unique names."""

    flavors: tuple[Flavor, ...] = ()
    images: tuple[Image, ...] = ()
    algorithms: tuple[ProvidedAlgorithmEntry, ...] = ()

    def flavor(self, name: str) -> Flavor:
        """The flavor of that name.

        Raises:
            InvalidInputError: There is none; it lists those that there are.
        """
        return _choose("flavor", name, self.flavors)

    def image(self, name: str) -> Image:
        """The image of that name.

        Raises:
            InvalidInputError: There is none; it lists those that there are.
        """
        return _choose("image", name, self.images)

    def algorithm(self, name: str) -> ProvidedAlgorithmEntry:
        """The provided algorithm of that name.

        Raises:
            InvalidInputError: There is none; it lists those that there are.
        """
        return _choose("provided algorithm", name, self.algorithms)

    def image_of(self, spec: TrainingSpec) -> Image:
        """The image that a training runs in: the one asked for, or, unless one is, its provided algorithm's.

        Raises:
            InvalidInputError: There is no such image or algorithm.
        """
        provided = spec.algorithm.provided
        if provided is not ProvidedAlgorithm.OWN and spec.instances.image == DEFAULT_IMAGE:
            return self.image(self.algorithm(provided).image)
        return self.image(spec.instances.image)

    def with_own(self, flavors: Iterable[Flavor], images: Iterable[Image]) -> "Catalogue":
        """The same with a user's own; one of the same name takes the place of ours."""
        return Catalogue(
            flavors=_merged(self.flavors, flavors), images=_merged(self.images, images), algorithms=self.algorithms
        )


BUILT_IN = Catalogue(flavors=FLAVORS, images=IMAGES, algorithms=ALGORITHMS)


class _OwnCatalogue(Frozen):
    """What a catalogue.yaml may hold."""

    flavors: tuple[Flavor, ...] = ()
    images: tuple[Image, ...] = ()


def load_catalogue(text: str = "", name: str = "catalogue.yaml") -> Catalogue:
    """The built-in catalogue with the flavors and images of a catalogue.yaml, of that name in messages, on top.

    Raises:
        InvalidInputError: It is no YAML, or a field is unknown or wrong; it says which.
    """
    try:
        content: Any = yaml.safe_load(text) or {}
        own = _OwnCatalogue.model_validate(content)
    except yaml.YAMLError as error:
        raise _invalid(name, " ".join(str(error).split())) from error
    except ValidationError as error:
        problems = (f"{'.'.join(map(str, e['loc'])) or 'the file'}: {e['msg']}" for e in error.errors())
        raise _invalid(name, "; ".join(problems), _keys_at(error.errors()[0]["loc"])) from error
    return BUILT_IN.with_own(own.flavors, own.images)


def _choose(kind: str, name: str, items: tuple[ItemT, ...]) -> ItemT:
    for item in items:
        if item.name == name:
            return item
    names = ", ".join(item.name for item in items)
    raise InvalidInputError(f"The {kind} {name!r}", "the catalogue has none of this name", f"Choose one of: {names}.")


def _merged(ours: Iterable[ItemT], own: Iterable[ItemT]) -> tuple[ItemT, ...]:
    return tuple(({item.name: item for item in ours} | {item.name: item for item in own}).values())


def _keys_at(place: Sequence[int | str]) -> str:
    """What is allowed there."""
    entries: dict[int | str, type[Frozen]] = {"flavors": Flavor, "images": Image}
    if len(place) > 2 and place[0] in entries:
        return f"The keys of each of its {place[0]} are {', '.join(entries[place[0]].model_fields)}."
    return _KEYS


_KEYS = "Its keys are 'flavors' and 'images', each a list."


def _invalid(name: str, why: str, remedy: str = _KEYS) -> InvalidInputError:
    return InvalidInputError(name, why, remedy)
