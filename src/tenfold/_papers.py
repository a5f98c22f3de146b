"""The papers, as plain data: `tenfold.cite`, `tenfold list` and every `Study` read them here."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A paper: what it is called, where it lives, and how to cite it."""

    package: str
    """The tenfold package (and study) that implements it."""
    title: str
    arxiv: str
    """arXiv identifier, such as `2007.04504`."""
    headline: str
    """In our words, the claim that its users come for."""
    bibtex: str

    @property
    def url(self) -> str:
        return f"https://arxiv.org/abs/{self.arxiv}"


TAYLOR = Paper(
    package="taylor",
    title="Learning Differential Equations that are Easy to Solve",
    arxiv="2007.04504",
    headline="learned dynamics that need far fewer solver steps at nearly the same accuracy",
    bibtex="""@inproceedings{kelly2020easynode,
  title     = {Learning Differential Equations that are Easy to Solve},
  author    = {Kelly, Jacob and Bettencourt, Jesse and Johnson, Matthew James and Duvenaud, David},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2020},
  note      = {arXiv:2007.04504},
}""",
)

SDE = Paper(
    package="sde",
    title="Scalable Gradients for Stochastic Differential Equations",
    arxiv="2001.01328",
    headline="gradients of SDE solutions in constant memory, and latent SDEs trained with them",
    bibtex="""@inproceedings{li2020scalable,
  title     = {Scalable Gradients for Stochastic Differential Equations},
  author    = {Li, Xuechen and Wong, Ting-Kam Leonard and Chen, Ricky T. Q. and Duvenaud, David},
  booktitle = {International Conference on Artificial Intelligence and Statistics},
  year      = {2020},
  note      = {arXiv:2001.01328},
}""",
)

SUMO = Paper(
    package="sumo",
    title="SUMO: Unbiased Estimation of Log Marginal Probability for Latent Variable Models",
    arxiv="2004.00353",
    headline="log p(x) of latent-variable models and its gradient, without bias",
    bibtex="""@inproceedings{luo2020sumo,
  title     = {{SUMO}: Unbiased Estimation of Log Marginal Probability for Latent Variable Models},
  author    = {Luo, Yucen and Beatson, Alex and Norouzi, Mohammad and Zhu, Jun and Duvenaud, David
               and Adams, Ryan P. and Chen, Ricky T. Q.},
  booktitle = {International Conference on Learning Representations},
  year      = {2020},
  note      = {arXiv:2004.00353},
}""",
)

HOLLOW = Paper(
    package="hollow",
    title="Neural Networks with Cheap Differential Operators",
    arxiv="1912.03579",
    headline="networks whose exact divergence costs one extra pass, and the solvers it serves",
    bibtex="""@inproceedings{chen2019hollow,
  title     = {Neural Networks with Cheap Differential Operators},
  author    = {Chen, Ricky T. Q. and Duvenaud, David},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2019},
  note      = {arXiv:1912.03579},
}""",
)

GRAN = Paper(
    package="gran",
    title="Efficient Graph Generation with Graph Recurrent Attention Networks",
    arxiv="1910.00760",
    headline="generates graphs of thousands of nodes, block by block, with a likelihood",
    bibtex="""@inproceedings{liao2019efficient,
  title     = {Efficient Graph Generation with Graph Recurrent Attention Networks},
  author    = {Liao, Renjie and Li, Yujia and Song, Yang and Wang, Shenlong and Nash, Charlie and
               Hamilton, William L. and Duvenaud, David and Urtasun, Raquel and Zemel, Richard},
  booktitle = {Advances in Neural Information Processing Systems},
  year      = {2019},
  note      = {arXiv:1910.00760},
}""",
)

PAPERS: dict[str, Paper] = {paper.package: paper for paper in (GRAN, HOLLOW, SDE, SUMO, TAYLOR)}


def cite(*packages: str) -> str:
    """The BibTeX entries of the papers behind `packages` (all of them when none is named).

    **Raises:** `ValueError` naming an unknown package and the known ones.
    """
    unknown = [name for name in packages if name not in PAPERS]
    if unknown:
        known = ", ".join(sorted(PAPERS))
        raise ValueError(f"cite: no paper is known as {unknown[0]!r}; known: {known}")
    return "\n\n".join(PAPERS[name].bibtex for name in packages or PAPERS)
