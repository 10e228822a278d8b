#!/bin/sh
# Ends without a word, which the server answers for.
exit 1
