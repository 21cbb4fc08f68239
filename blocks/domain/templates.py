"""Templates: named settings of trainings, and what a training that is made from one remembers of it."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

from pydantic import Field

from blocks.domain.catalogues import Catalogue
from blocks.domain.errors import PermanentError, TemplateOutdatedError
from blocks.domain.plan import Frozen
from blocks.domain.planning import check_outputs
from blocks.domain.specs import NAME_PATTERN, NAME_RULE, AlgorithmSettings, ProvidedAlgorithm, TrainingSettings


class TemplateSpec(TrainingSettings):
    """A template: settings for trainings. Each may be left out: it is given with the training, or has its default."""

    name: str = Field(
        pattern=NAME_PATTERN,
        title="Name",
        description=f"Unique among templates: {NAME_RULE}.",
        examples=["digits-nightly"],
    )
    description: str = Field(
        default="",
        max_length=1000,
        title="Description",
        description="What the template is for, at most 1,000 characters; can be changed later. A training made from it "
        "has a description of its own.",
        examples=["The settings that every nightly training shares."],
    )
    algorithm: AlgorithmSettings = Field(
        default=AlgorithmSettings(),
        title="Algorithm",
        description="What is run. What is left empty has to be given with the training.",
    )

    def check(self, catalogue: Catalogue, known: "TemplateSpec | None" = None) -> None:
        """Refuse what would be wrong however a training completes it.

        Args:
            catalogue: What can be chosen from.
            known: What it was before a change; a group that stays as it was is not looked at again.

        Raises:
            InvalidInputError: What is wrong, and what is allowed.
        """
        if known is None or self.instances != known.instances:
            catalogue.flavor(self.instances.flavor)
            catalogue.image(self.instances.image)
        if known is None or self.algorithm != known.algorithm:
            self._check_algorithm(catalogue)
        check_outputs(self)

    def _check_algorithm(self, catalogue: Catalogue) -> None:
        if self.algorithm.provided is not ProvidedAlgorithm.OWN:
            given = {pair.name: pair.value for pair in self.algorithm.hyperparameters}
            catalogue.algorithm(self.algorithm.provided).check_given(given)


class TemplateUse(Frozen):
    """The template that a training was made from, by the name that it had then.

    Attributes:
        beside: Flat names of what was given beside it (`flavor`, `hyperparameters.lr`); all else is the template's.
    """

    id: str
    name: str
    beside: tuple[str, ...] = ()

    @contextmanager
    def naming(self, *settings: str) -> Iterator[None]:
        """Let an error about these settings name the template, unless one of them was given beside it.

        Raises:
            TemplateOutdatedError: The settings are the template's, and cannot be used.
        """
        try:
            yield
        except PermanentError as error:
            if set(settings) & set(self.beside):
                raise
            raise TemplateOutdatedError(self.name, settings[0], str(error)) from error


def named_by(use: TemplateUse | None, *settings: str) -> AbstractContextManager[None]:
    """`TemplateUse.naming`, for a training that may have been made from none."""
    return use.naming(*settings) if use else nullcontext()
