"""Which search serves which settings."""

from blocks.domain.tunings import Strategy, TuningSpec
from blocks.search.base import Search


def open_search(spec: TuningSpec, random_state: int) -> Search:
    """The search of a tuning, that knows nothing yet.

    Args:
        spec: The tuning.
        random_state: What its settings name, or what was drawn for it.
    """
    search = spec.search
    if search.strategy is Strategy.GRID:
        from blocks.search.grid import GridSearch

        return GridSearch(search.parameters)
    from blocks.search.sampling import SampledSearch  # Optuna is imported only where it samples

    return SampledSearch(search.parameters, search.strategy, search.sampler, spec.objective.type, random_state)
