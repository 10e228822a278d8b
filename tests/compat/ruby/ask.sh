#!/bin/sh
# Net::HTTP. $2: where WEBrick is, $3: where Puma is.
exec ruby "$(dirname "$0")/client.rb" "http://$2" "http://$3"
