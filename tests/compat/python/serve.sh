#!/bin/sh
# gunicorn (WSGI) on 8000, uvicorn (ASGI) on 8001, hypercorn (ASGI, HTTP/2 with prior knowledge too) on 8002.
export PYTHONPATH="$MINIMESH_KIT_PYTHON:$(dirname "$0")" PYTHONDONTWRITEBYTECODE=1
python3 -m gunicorn --bind 0.0.0.0:8000 --threads 8 --worker-tmp-dir "$1" --no-control-socket wsgi:application &
python3 -m uvicorn --host 0.0.0.0 --port 8001 --no-access-log --ws websockets-sansio asgi:application &
exec python3 -m hypercorn --bind 0.0.0.0:8002 asgi:application
