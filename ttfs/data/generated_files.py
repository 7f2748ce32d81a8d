"""A small table of made-up files, for tests and for an example without downloads."""

from random import Random

from ttfs.seeds import seed

CLASSES = {
    # usual types, median size [bytes], tags
    "code": (("py", "c", "rs", "txt"), 4e3, ("build", "work", "test")),
    "data": (("csv", "npz", "txt", "zip"), 4e6, ("work", "measured", "test")),
    "image": (("png", "jpg", "pdf"), 4e5, ("home", "travel", "work")),
    "music": (("mp3", "ogg", "zip"), 5e6, ("home", "album", "travel")),
    "paper": (("pdf", "tex", "txt"), 3e5, ("work", "draft", "measured")),
}
"""What a class draws from; types and tags overlap, so no one key tells the class."""
OWNERS = ("ada", "ben", "eva", "kim", "max", "uma")


def files(count: int = 2000) -> dict[str, list[str]]:
    """Return the table {column: values [count]}: class, folder, type, owner, size, age, tags.

    A folder, the group, holds 1 to 9 files of one class and one owner. One value in ten is missing.
    The numbers come from Python's Mersenne Twister: the same on every machine.
    """
    random = Random(seed("files"))
    columns = ("class", "folder", "type", "owner", "size", "age", "tags")
    table: dict[str, list[str]] = {name: [] for name in columns}
    folder = 0
    while len(table["class"]) < count:
        folder += 1
        name, owner = random.choice(list(CLASSES)), random.choice(OWNERS)
        for _ in range(min(random.randint(1, 9), count - len(table["class"]))):
            record = _file(name, random) | {"owner": owner}
            hidden = {key: value for key, value in record.items() if random.random() < 0.9}
            for key in columns[2:]:
                table[key].append(hidden.get(key, ""))
            table["class"].append(name)
            table["folder"].append(f"folder{folder}")
    return table


def _file(name: str, random: Random) -> dict[str, str]:
    types, size, tags = CLASSES[name]
    return {
        "type": random.choice(types),
        "size": str(round(size * 10 ** random.uniform(-1.5, 1.5))),
        "age": str(random.randint(0, 3650)),
        "tags": " ".join(tag for tag in tags if random.random() < 0.5),
    }
