"""What a bad disk does to a nats-server's message blocks while nobody writes them."""

import os
import random
from pathlib import Path


def blocks(store: Path, stream: str) -> list[Path]:
    """The files that hold a stream's messages, oldest first; the server whose they are has to be down."""
    return sorted(store.glob(f"jetstream/*/streams/{stream}/msgs/*.blk"), key=lambda path: int(path.stem))


def flip_bits(path: Path, chance: random.Random, count: int = 3) -> str:
    size = path.stat().st_size
    places = sorted(chance.randrange(size) for _ in range(count))
    with path.open("r+b") as file:
        for place in places:
            file.seek(place)
            (byte,) = file.read(1)
            file.seek(place)
            file.write(bytes([byte ^ (1 << chance.randrange(8))]))
    return f"bits flipped at {places} of {size} bytes in {path.name}"


def truncate(path: Path, chance: random.Random) -> str:
    size = path.stat().st_size
    keep = chance.randrange(size)
    os.truncate(path, keep)
    return f"{path.name} cut from {size} to {keep} bytes"


def damage(store: Path, stream: str, chance: random.Random) -> str:
    """One block, in one of the two ways; says what was done."""
    found = [path for path in blocks(store, stream) if path.stat().st_size]
    if not found:
        return "nothing to damage"
    path = chance.choice(found)
    return f"{stream}: {flip_bits(path, chance) if chance.random() < 0.5 else truncate(path, chance)}"
