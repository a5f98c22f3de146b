"""The GRAN paper's lobsters: trees that are a path once their leaves fell twice."""

from tenfold.lab.data._graphs import GraphSet, Part, Split, made, part_of


def load(
    part: Part = "all",
    seed: int = 0,
    *,
    split: Split = "shuffled",
    count: int = 100,
    mean_spine: int | float = 80,
    least: int = 10,
    most: int = 100,
) -> GraphSet:
    """`count` lobsters of `least` to `most` nodes, drawn from `seed`; four fifths to train on.

    Raises ValueError for another part or split, or sizes that hardly come.
    """
    import jax

    from tenfold.gran import lobsters

    sizes = {"mean_spine": mean_spine, "least": least, "most": most}
    graphs = lobsters(count, **sizes, key=jax.random.key(seed))
    return part_of(made(graphs), part, seed, split)
