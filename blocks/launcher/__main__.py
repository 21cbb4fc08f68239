"""`python -m blocks.launcher RUN_DIRECTORY`: the agent of one run."""

import sys

from blocks.launcher.agent import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
