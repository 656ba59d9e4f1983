"""`python -m quickstudy`, the same as `quickstudy`."""

from quickstudy.hub.cli import main

main()
