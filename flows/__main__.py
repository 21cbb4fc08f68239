"""`python -m flows ID [LIMITS]`: follow one training or tuning to its end, in a process of its own.

With limits, as JSON, a tuning is gone on with wherever it stands.
"""

import json
import sys

from flows.training import resume_training
from flows.tuning import TuningHandle, resume_tuning

if __name__ == "__main__":
    if len(sys.argv) > 2:
        resume_tuning(sys.argv[1], **json.loads(sys.argv[2]))
    elif sys.argv[1].startswith("tun-"):
        TuningHandle(sys.argv[1]).wait()
    else:
        resume_training(sys.argv[1])
