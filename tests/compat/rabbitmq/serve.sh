#!/bin/sh
# RabbitMQ with everything it writes in one folder: $1.
set -e
export HOME="$1/rabbitmq"
mkdir -p "$HOME"
# memory is asked of the virtual machine, because /proc may be that of another PID namespace
echo 'loopback_users = none
listeners.tcp.1 = 0.0.0.0:5672
vm_memory_calculation_strategy = allocated' > "$HOME/rabbitmq.conf"
echo '[].' > "$HOME/plugins"
export RABBITMQ_NODENAME=rabbit@localhost RABBITMQ_BASE="$HOME" RABBITMQ_MNESIA_BASE="$HOME/mnesia" RABBITMQ_LOG_BASE="$HOME/log" \
    RABBITMQ_LOGS=- RABBITMQ_ENABLED_PLUGINS_FILE="$HOME/plugins" RABBITMQ_CONFIG_FILE="$HOME/rabbitmq" \
    RABBITMQ_PID_FILE="$HOME/pid" RABBITMQ_GENERATED_CONFIG_DIR="$HOME/generated" RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+S 1:1'
# Debian's own starts it as another user; this is what it starts
exec /usr/lib/rabbitmq/bin/rabbitmq-server
