#!/bin/sh
# mongo-java-server, which speaks MongoDB's protocol and keeps everything in memory.
exec java -XX:TieredStopAtLevel=1 -XX:+UseSerialGC -cp "$MINIMESH_KIT_MAVEN:$MINIMESH_KIT_MAVEN/jars/*" Mongo 27017
