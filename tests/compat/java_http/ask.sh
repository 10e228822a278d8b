#!/bin/sh
# java.net.http. $2: where Node's server is, $3: where Go's.
exec java -XX:TieredStopAtLevel=1 -cp "$MINIMESH_KIT_JAVA" Client "http://$2" "http://$3"
