#!/bin/sh
# An answer in pieces, of a length that nobody knows beforehand.
printf 'Content-Type: application/x-pieces\r\n\r\n'
line=$(printf '%01000d' 0)
for piece in 1 2 3 4 5 6 7 8 9; do
    for number in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20; do echo "piece $piece$number $line"; done
done
