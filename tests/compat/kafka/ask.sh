#!/bin/sh
# Kafka's own client, and kcat (librdkafka). $1: a folder, $2: where the broker is.
set -u
cd "$1" || exit 1
java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -Djava.io.tmpdir="$1" -cp "$MINIMESH_KIT_MAVEN:$MINIMESH_KIT_MAVEN/jars/*" KafkaClient "$2" || exit
say() { printf '\n-- kcat %s\n' "$*"; }
seq 10000 | sed 's/.*/key &:value &/' > lines.txt
for codec in none gzip snappy lz4 zstd; do
    say "$codec"
    kcat -P -b "$2" -t "$codec" -K : -z $codec -X enable.idempotence=true -X linger.ms=20 -l lines.txt
    echo "[exit $?]"
    kcat -C -b "$2" -t "$codec" -o beginning -e -q -f '%p %o %k %s\n' | sort -n -k 1,1 -k 2,2 | sha256sum
done
say a group
kcat -b "$2" -G kcat-group -c 1000 -q -X auto.offset.reset=earliest -f '%s\n' none 2> /dev/null | wc -l
say metadata
kcat -L -b "$2" -t many | sed 's/kafka.*//'
