"""`python -m flows TRAINING_ID`: follow one training to its end, in a process of its own."""

import sys

from flows.training import resume_training

if __name__ == "__main__":
    resume_training(sys.argv[1])
