#!/bin/sh
# NATS with JetStream. $1: a folder.
exec nats-server --addr 0.0.0.0 --port 4222 --jetstream --store_dir "$1/nats"
