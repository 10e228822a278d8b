#!/bin/sh
# PHP's streams and its curl. $2: where PHP's own server is, $3: where Node's.
exec php "$(dirname "$0")/client.php" "http://$2" "http://$3"
