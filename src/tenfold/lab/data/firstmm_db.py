"""FIRSTMM_DB: 41 graphs of point clouds of household objects, 134 to 5,037 nodes."""

from tenfold.lab.data._graphs import GraphSet, Part, Split, load_tu, part_of


def load(part: Part = "all", seed: int = 0, *, split: Split = "shuffled") -> GraphSet:
    """The graphs with their object's class; 32 to train on and 9 to test on.

    Source: `firstmm_db/` in TENFOLD_DATA (the text files of the TU Dortmund collection), the cache
    or a download of the collection's zip. CC BY-SA 3.0. Raises DataError where files are absent or
    damaged, ValueError for another part or split.
    """
    return part_of(load_tu("firstmm_db", "FIRSTMM_DB", most=1 << 27), part, seed, split)
