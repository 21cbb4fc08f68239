"""`python -m flows ID`: follow one training or tuning to its end, in a process of its own."""

import sys

from flows.training import resume_training
from flows.tuning import TuningHandle

if __name__ == "__main__":
    if sys.argv[1].startswith("tun-"):
        TuningHandle(sys.argv[1]).wait()
    else:
        resume_training(sys.argv[1])
