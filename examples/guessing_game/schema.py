"""The tables. Times are ms since the epoch; scores are from 0 to 1000, and 1000 is the word itself."""

from typing import Annotated, Literal, NotRequired, TypedDict

from interlock import Id, Schema, Table

PlayerId = Annotated[str, Id("players")]
RoundId = Annotated[str, Id("rounds")]


class Place(TypedDict):
    """What a player has made of a round, as its results show it."""

    player: str
    word: str
    score: int


schema = Schema(
    # `total` is the sum of a player's best scores. `counted` is absent from players and guesses that are older than the counters.
    players=Table({"name": str, "total": int, "counted": NotRequired[bool]}).index("by_counted", "counted"),
    # `vector` is where the word lies, `scale` how near other words are: guesses are held against them. `workflow` is the run that
    # leads through the round; `told` are the places of the letters that are told.
    rounds=Table(
        {
            "number": int,
            "word": str,
            "proposer": PlayerId | None,
            "vector": list[float],
            "scale": list[float],
            "state": Literal["open", "closed", "announced"],
            "opened": float,
            "closes": float,
            "found": float | None,  # when the word was first guessed
            "workflow": str,
            "told": list[int],
            "results": NotRequired[list[Place]],
        }
    )
    .index("by_number", "number")
    .index("by_state", "state", "number"),
    # Words that players propose. `run` is the retrier's, which looks the word up.
    proposals=Table({"word": str, "player": PlayerId, "state": Literal["checking", "ready", "used", "unknown", "failed"], "run": str})
    .index("by_word", "word")
    .index("by_run", "run")
    .index("by_player", "player")
    .index("by_state", "state"),
    guesses=Table({"round": RoundId, "player": PlayerId, "word": str, "score": int, "at": float, "counted": NotRequired[bool]})
    .index("by_round", "round", "at")
    .index("by_word", "round", "player", "word")
    .index("by_score", "round", "player", "score", "at")
    .index("by_counted", "counted"),
    # A player's best guess of a round. Follows from the guesses.
    entries=Table({"round": RoundId, "player": PlayerId, "word": str, "score": int, "at": float}).index("by_player", "round", "player"),
)
