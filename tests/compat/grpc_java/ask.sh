#!/bin/sh
# grpc-java's interoperability client against its own server and grpc-go's. $2: where its own is, $3: where grpc-go's.
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$MINIMESH_KIT_MAVEN:$MINIMESH_KIT_MAVEN/jars/*" \
    io.grpc.testing.integration.GrpcInterop "${2%:*}" "${2##*:}" "${3%:*}" "${3##*:}"
