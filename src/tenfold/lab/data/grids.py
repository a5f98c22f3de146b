"""The 100 grids of the GRAN paper, of 10 to 19 nodes a side, or others."""

from tenfold.lab.data._graphs import GraphSet, Part, Split, made, part_of


def load(
    part: Part = "all",
    seed: int = 0,
    *,
    split: Split = "shuffled",
    least: int = 10,
    most: int = 19,
) -> GraphSet:
    """All grids of `least` to `most` nodes a side, four fifths of them to train on.

    Raises ValueError for another part or split. See `part_of` for what `official` means.
    """
    from tenfold.gran import grid

    sides = range(least, most + 1)
    return part_of(made([grid(i, j) for i in sides for j in sides]), part, seed, split)
