"""`python -m deployments.cli`: the command, where it is not installed."""

from deployments.cli.main import main

if __name__ == "__main__":
    main()
