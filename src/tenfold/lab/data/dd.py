"""DD: 1,178 proteins, amino acids joined where they are near (TU Dortmund collection)."""

from tenfold.lab.data._graphs import GraphSet, Part, Split, load_tu, of_size, part_of


def load(
    part: Part = "all",
    seed: int = 0,
    *,
    split: Split = "shuffled",
    least: int = 100,
    most: int | None = 500,
) -> GraphSet:
    """The proteins of `least` to `most` nodes (the GRAN paper's choice), four fifths to train on.

    Nodes are labelled with their amino acid, graphs with whether it is an enzyme. Source:
    `dd/DD.zip` in TENFOLD_DATA, the cache or a download (no published hash is known to us:
    recorded at the first). Raises DataError where it is absent or damaged, ValueError for another
    part or split.
    """
    graphs = of_size(load_tu("dd", "DD", most=1 << 28), least, most)
    return part_of(graphs, part, seed, split)
