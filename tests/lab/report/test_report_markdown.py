from fake_runs import claim, judged, write_run

from tenfold.lab import report


def test_the_markdown_table_has_a_row_a_claim(tmp_path):
    first, *_, last = report.claims_markdown([report.read_run(write_run(tmp_path))]).splitlines()
    assert first == "| Claim | Measured, 95 % interval | Needs | Verdict |"
    assert last == (
        "| At equal accuracy, training is faster than with the kinetic penalty "
        "| **1.23 × kinetic** [1.02, 1.43] | < 1 × kinetic | fails |"
    )


def test_a_bar_in_a_claim_does_not_break_its_row(tmp_path):
    some = judged(claim(says="|x| is\nsmall"), [4.0, 5.0, 6.0], [8.0, 10.0, 12.0])
    table = report.claims_markdown([report.read_run(write_run(tmp_path, claims=[some]))])
    assert table.splitlines()[-1].startswith(r"| \|x\| is small |")
