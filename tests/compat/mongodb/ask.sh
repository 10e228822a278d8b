#!/bin/sh
# pymongo. $2: where the server is.
export PYTHONPATH="$MINIMESH_KIT_PYTHON" PYTHONDONTWRITEBYTECODE=1
exec python3 "$(dirname "$0")/client.py" "${2%:*}" "${2##*:}"
