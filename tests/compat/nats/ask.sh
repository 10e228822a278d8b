#!/bin/sh
# nats-py against nats-server, which speaks first. $2: where it is.
export PYTHONPATH="$MINIMESH_KIT_PYTHON" PYTHONDONTWRITEBYTECODE=1
exec python3 "$(dirname "$0")/client.py" "nats://$2"
