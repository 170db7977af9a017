"""`python -m c2i_fast`."""

from c2i_fast.cli.app import main

main()
