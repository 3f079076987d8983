"""An embedding of words by what they are about; a file of a test's project, never imported by a test."""

from collections.abc import Sequence

ABOUT = {"cat": 0, "dog": 0, "pet": 0, "train": 1, "car": 1, "travel": 1, "bread": 2, "soup": 2, "food": 2}


async def embed_texts(texts: Sequence[str]) -> list[list[float]]:
    if any("unreadable" in text for text in texts):
        msg = "secret-key-of-the-provider"
        raise RuntimeError(msg)
    return [_vector(text) for text in texts]


def _vector(text: str) -> list[float]:
    vector = [0.0, 0.0, 0.0, 0.1]
    for word in text.lower().split():
        if (axis := ABOUT.get(word.strip('".,{}:?'))) is not None:
            vector[axis] += 1.0
    return vector
