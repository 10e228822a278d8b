#!/bin/sh
# Kafka: broker and controller in one process (KRaft). $1: a folder, $2: where clients find it, which the broker tells them.
mkdir -p "$1/kafka"
exec java -Xmx512m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$MINIMESH_KIT_MAVEN:$MINIMESH_KIT_MAVEN/jars/*" Broker "$1/kafka" "$2"
