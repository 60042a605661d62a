"""Proposals of Optuna's tree-structured Parzen estimator, a round at a time, so that the sweep machinery runs whole batches.

A round depends on its coordinates and on what the rounds before it scored: asking again gives the same settings.
"""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from benchmark.config.tune_options import Dimension, Range, Settings, distinct, random_settings, seed_of
from benchmark.errors import UsageError

_ASKS = 20
"""Proposals looked at per wanted one before random settings take over: in a small space the estimator repeats itself."""


def propose(
    space: Mapping[str, Dimension], tried: Sequence[tuple[Settings, float]], count: int, coordinates: Sequence[object]
) -> list[Settings]:
    """``count`` further settings, none of them tried before. tried: settings with their scores, higher being better."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    seed = seed_of(*coordinates, len(tried))
    sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=count, constant_liar=True)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {key: _distribution(optuna, dimension) for key, dimension in space.items()}
    for settings, score in tried:
        params = {key: _to_optuna(space[key], value) for key, value in settings.items()}
        study.add_trial(optuna.trial.create_trial(params=params, distributions=distributions, value=score))
    done = [settings for settings, _ in tried]

    def asked() -> Iterator[Settings]:
        for _ in range(_ASKS * count):
            params = study.ask(distributions).params
            yield {key: _from_optuna(space[key], value) for key, value in params.items()}

    found = distinct(itertools.chain(asked(), random_settings(space, *coordinates)), count, but=done)
    if len(found) < count:
        raise UsageError(f"tune: {coordinates[-1]} has no {count} further settings to three digits: widen its ranges or lower tune.trials")
    return found


def check_installed() -> None:
    """Refuse search ``tpe`` where its package is missing."""
    _optuna()


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise UsageError("tune.search: 'tpe' needs Optuna, which is not installed; run: pip install 'smilebench[tune]'") from error
    return optuna


def _distribution(optuna: Any, dimension: Dimension) -> Any:
    if not isinstance(dimension, Range):
        return optuna.distributions.CategoricalDistribution(range(len(dimension)))
    if dimension.whole:
        return optuna.distributions.IntDistribution(dimension.low, dimension.high, log=dimension.log)
    return optuna.distributions.FloatDistribution(dimension.low, dimension.high, log=dimension.log)


def _to_optuna(dimension: Dimension, value: Any) -> Any:
    return value if isinstance(dimension, Range) else dimension.index(value)


def _from_optuna(dimension: Dimension, value: Any) -> Any:
    if not isinstance(dimension, Range):
        return dimension[value]
    return value if dimension.whole else dimension.at(dimension.share(value))
