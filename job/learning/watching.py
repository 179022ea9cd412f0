"""What is known of a champion and its challenger by now, added to day after day.

Log-losses become means over blocks of the calendar. A block is complete once a later one has rows; then it is bet upon,
see `sequential` and `decay`. What the bets say may be looked at after every block, by a watcher who acts on it: see
`judging`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final, Self

from job.learning.blocks import Blocks, BlockSums, Seeds, add_up, mean_seeds, seeds_of_record
from job.learning.decay import Skill
from job.learning.evidence import DAY_US
from job.learning.sequential import Betting

SCALE: Final = 0.1
"""Differences from a base rate are bet upon by a tenth, so that they are clipped at ten times `sequential.CLIP`: models
differ from their base rate far more than from their next version."""


@dataclass(frozen=True)
class Challenge:
    """What is known of a challenger: log-losses of both versions, summed over `rows` from `first` to `last` (µs).

    `bets` are on the challenger's log-loss less that of the champion.
    """

    version: str
    rows: int = 0
    first: int | None = None
    last: int | None = None
    champion: float = 0.0
    challenger: float = 0.0
    bets: Betting = field(default_factory=Betting)
    seeds: Seeds = ()

    def add(self, blocks: Blocks, added: BlockSums, done: Sequence[BlockSums]) -> Self:
        """Return it with the sums of all later rows `added`, and with the blocks that are complete by them."""
        bets = Betting(*self.bets.added([(one[6] - one[5]) / one[4] for one in done if one[4]]))
        if not added[4]:
            return replace(self, bets=bets)
        return type(self)(
            self.version,
            rows=self.rows + added[4],
            first=blocks.challenger_first if self.first is None else self.first,
            last=blocks.challenger_last,
            champion=self.champion + added[5],
            challenger=self.challenger + added[6],
            bets=bets,
            seeds=mean_seeds([(self.rows, self.seeds), (added[4], blocks.seeds)]),
        )

    @property
    def days(self) -> float:
        """How many days of bars its rows are of."""
        return 0.0 if self.first is None or self.last is None else (self.last - self.first) / DAY_US


@dataclass(frozen=True)
class Watched:
    """What is known of a champion on `rows` from `first` to `last` (µs), by blocks of `length` µs.

    `base` and `loss` are its base rate's log-loss and its own, summed; `skill` is bet upon by a tenth of the
    difference, see `SCALE`. `challengers` counts those that it has had, the present one included. `open` has the sums
    of the block that is not complete yet.
    """

    champion: str
    length: int
    rows: int = 0
    first: int | None = None
    last: int | None = None
    base: float = 0.0
    loss: float = 0.0
    skill: Skill = field(default_factory=Skill)
    challengers: int = 0
    challenge: Challenge | None = None
    open: BlockSums | None = None

    @classmethod
    def of(cls, blocks: Blocks) -> Self:
        """Return what the first rows of a champion say."""
        return cls(blocks.champion, blocks.length).add(blocks)

    def add(self, blocks: Blocks) -> Self:
        """Return it with later rows added; a new champion or challenger begins from nothing.

        Rows come in the order of time, and once. Those of blocks that are complete by now are passed over.
        """
        state = self.facing(blocks.champion, blocks.challenger, length=blocks.length)
        begun = state.open[0] if state.open is not None else blocks.sums[0][0]
        new = [sums for sums in blocks.sums if sums[0] >= begun]
        if not new:
            return state
        done = list(new)
        if state.open is not None:
            done[:1] = [add_up([state.open, new[0]])] if new[0][0] == begun else [state.open, new[0]]
        opened = done.pop()
        added, challenge = add_up(new), state.challenge
        return type(self)(
            state.champion,
            state.length,
            rows=state.rows + added[1],
            first=blocks.first if state.first is None else state.first,
            last=blocks.last,
            base=state.base + added[2],
            loss=state.loss + added[3],
            skill=state.skill.with_means([SCALE * (one[3] - one[2]) / one[1] for one in done]),
            challengers=state.challengers,
            challenge=None if challenge is None else challenge.add(blocks, added, done),
            open=opened,
        )

    def facing(self, champion: str, challenger: str | None, *, length: int) -> Self:
        """Return it with nothing known of versions that are new, and nothing at all where the champion is."""
        state = self
        if (champion, length) != (self.champion, self.length):
            state = type(self)(champion, length)
        known = state.challenge.version if state.challenge is not None else None
        if challenger == known:
            return state
        return replace(
            state,
            challengers=state.challengers + (challenger is not None),
            challenge=None if challenger is None else Challenge(challenger),
            open=None if state.open is None else (*state.open[:4], 0, 0.0, 0.0),
        )

    def record(self) -> dict[str, Any]:
        """Return all of it as JSON values."""
        return asdict(self)

    @classmethod
    def of_record(cls, record: Mapping[str, Any]) -> Self:
        """Return what `record` gave, also after it went through JSON.

        Raises:
            TypeError, LookupError: it is something else.
        """
        skill, challenge, opened = record["skill"], record["challenge"], record["open"]
        if challenge is not None:
            bets, seeds = Betting(**challenge["bets"]), seeds_of_record(challenge["seeds"])
            challenge = Challenge(**{**challenge, "bets": bets, "seeds": seeds})
        return cls(
            **{
                **record,
                "skill": Skill(**{**skill, "decay": tuple(skill["decay"])}),
                "challenge": challenge,
                "open": None if opened is None else tuple(opened),
            }
        )
