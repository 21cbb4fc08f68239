"""`python -P -m blocks.gateway DIRECTORY`: the access service of the front door whose directory that is."""

import sys
from pathlib import Path

import uvicorn

from blocks.gateway.front_door import FrontDoor
from blocks.gateway.routes import ACCESS_SOCKET
from blocks.gateway.service import access_app

if __name__ == "__main__":
    front_door = FrontDoor.load(Path(sys.argv[1]))
    uvicorn.run(
        access_app(front_door),
        uds=str(front_door.directory / ACCESS_SOCKET),
        access_log=False,  # it would hold tickets
        log_level="warning",
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,  # a TensorBoard that hangs as it starts has somebody wait for it
    )
