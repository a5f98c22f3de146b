"""`python -m tenfold` is the command `tenfold`."""

from tenfold.lab.cli import main

main()
