"""PROTEINS: 1,113 proteins as graphs of their secondary structure (TU Dortmund collection)."""

from tenfold.lab.data._graphs import GraphSet, Part, Split, load_tu, of_size, part_of


def load(
    part: Part = "all",
    seed: int = 0,
    *,
    split: Split = "shuffled",
    least: int = 1,
    most: int | None = None,
) -> GraphSet:
    """The proteins of `least` to `most` nodes, four fifths to train on.

    Nodes are labelled helix, sheet or turn, graphs with whether it is an enzyme. Source:
    `proteins/PROTEINS.zip` in TENFOLD_DATA, the cache or a download (no published hash is known to
    us: recorded at the first). Raises DataError where it is absent or damaged, ValueError for
    another part or split.
    """
    graphs = of_size(load_tu("proteins", "PROTEINS", most=1 << 27), least, most)
    return part_of(graphs, part, seed, split)
