"""`python -m outlast` is `outlast`."""

from outlast.cli.main import main

main()
