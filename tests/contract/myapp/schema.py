"""Section 1: tables."""

from typing import Annotated

from interlock import Id, Schema, Table

GameId = Annotated[str, Id("games")]
GuessId = Annotated[str, Id("guesses")]

schema = Schema(
    games=Table({"name": str, "active": bool}),
    guesses=Table({"game": GameId, "player": str, "score": float, "word": str}).index("by_game_score", "game", "score"),
)
