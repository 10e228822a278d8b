#!/bin/sh
# grpc-java's interoperability server on 10000, grpc-go's on 10001.
"$MINIMESH_KIT_GO/server" --port 10001 &
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$MINIMESH_KIT_MAVEN:$MINIMESH_KIT_MAVEN/jars/*" \
    io.grpc.testing.integration.TestServiceServer --port=10000 --use_tls=false
