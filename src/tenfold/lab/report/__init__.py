"""Reports of runs: a table for the terminal and one self-contained page of HTML."""

from tenfold.lab.report._markdown import claims_markdown as claims_markdown
from tenfold.lab.report._page import html as html
from tenfold.lab.report._page import write as write
from tenfold.lab.report._read import ReportError as ReportError
from tenfold.lab.report._read import read_run as read_run
from tenfold.lab.report._records import (
    ClaimRecord as ClaimRecord,
)
from tenfold.lab.report._records import (
    Environment as Environment,
)
from tenfold.lab.report._records import (
    FigureRecord as FigureRecord,
)
from tenfold.lab.report._records import (
    RunRecord as RunRecord,
)
from tenfold.lab.report._records import (
    Unit as Unit,
)
from tenfold.lab.report._terminal import claims_table as claims_table
from tenfold.lab.report._terminal import print_claims as print_claims
