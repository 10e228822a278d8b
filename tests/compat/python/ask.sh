#!/bin/sh
# requests, httpx, aiohttp and websockets against all three. $2…: where gunicorn, uvicorn and hypercorn are.
export PYTHONPATH="$MINIMESH_KIT_PYTHON" PYTHONDONTWRITEBYTECODE=1
exec python3 "$(dirname "$0")/client.py" "$2" "$3" "$4"
