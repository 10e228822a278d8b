#!/bin/sh
# pika against RabbitMQ (AMQP 0-9-1). $2: where it is.
export PYTHONPATH="$MINIMESH_KIT_PYTHON" PYTHONDONTWRITEBYTECODE=1
exec python3 "$(dirname "$0")/client.py" "${2%:*}" "${2#*:}"
