"""Published laws: how good is the rate that the literature names without a single run?"""

from collections.abc import Sequence

from benchmarks.rivals.protocol import Answer, Entry, Job, Point
from horizon_bo.published.learning_rate import LEARNING_RATE_LAWS, LearningRateLaw


class ZeroShot:
    """A law's rate at the target."""

    def __init__(self, job: Job, law: LearningRateLaw) -> None:
        self._answer = Answer(
            learning_rate=law.learning_rate(job.target), interval_90=law.interval_90(job.target)
        )

    def suggest(self, affordable: Sequence[Point]) -> None:
        """No run."""
        return

    def observe(self, point: Point, loss: float, *, diverged: bool) -> None:
        """Nothing to learn."""

    def recommend(self) -> Answer:
        """The law's rate, and its interval where refits were published."""
        return self._answer


def _entry(law: LearningRateLaw) -> Entry:
    return Entry(
        name=f"published-{law.name}",
        make=lambda job: ZeroShot(job, law),
        given=f"No run: {law.formula}; {law.source}",
        uses_center=False,
        in_sample=law.data,
    )


#: Laws that give a rate; the others give ratios of rates only.
ENTRIES = tuple(_entry(law) for law in LEARNING_RATE_LAWS.values() if law.is_absolute)
