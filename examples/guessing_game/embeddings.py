"""Where words lie, as an action: what a model of one's own or somebody's service would be. Its results are kept."""

from typing import TypedDict

from interlock import ActionCtx, AppError, QueryCtx, action, components, query
from interlock_action_cache import ActionCache

from . import vectors
from .vectors import Vector


class Target(TypedDict):
    """A word to be guessed: where it lies, and how near other words are to it."""

    word: str
    vector: Vector
    scale: list[float]


class ModelFacts(TypedDict):
    """Which vectors are in use: `words` is how many, `is_whole` whether that is all of GloVe."""

    name: str
    words: int
    is_whole: bool


@action(internal=True)
def embed(ctx: ActionCtx, model: str, text: str) -> Vector:
    """The direction of a word. A plain function: it runs in a thread, for the first call loads the model."""
    found = vectors.model().vector(text)
    if found is None:
        raise AppError({"code": "UnknownWord", "message": f"Nobody here knows the word {text!r}.", "word": text})
    return found


@action(internal=True)
def survey(ctx: ActionCtx, text: str) -> Target | None:
    """What guesses at a word are held against; None for a word that is not known."""
    vector = vectors.model().vector(text)
    return None if vector is None else {"word": text, "vector": vector, "scale": vectors.survey(text, vector)}


# By model and text: with another model nothing old is found.
kept = ActionCache(components.action_cache, embed, negative_ttl=3600, max_entries=50_000)


@query
async def model(ctx: QueryCtx) -> ModelFacts:
    """Which word vectors are in use."""
    found = vectors.model()
    return {"name": found.name, "words": len(found), "is_whole": vectors.is_whole()}
