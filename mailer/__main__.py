"""`python -m mailer` is the command line."""

from mailer.cli import main

main()
