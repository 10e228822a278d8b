// Go's net/http as a server and as a client, over HTTP/1.1 and over HTTP/2 with prior knowledge.
//
//	nethttp server ADDRESS
//	nethttp client URL
//
// The client prints what an application sees, and nothing that depends on the time or on the connection's own addresses.
package main

import (
	"fmt"
	"log"
	"os"
)

func main() {
	log.SetFlags(0)
	if len(os.Args) != 3 {
		log.Fatal("usage: nethttp server ADDRESS | nethttp client URL")
	}
	switch os.Args[1] {
	case "server":
		log.Fatal(serve(os.Args[2]))
	case "client":
		for _, version := range []string{"HTTP/1.1", "HTTP/2"} {
			fmt.Printf("\n==== %s\n", version)
			(&client{base: os.Args[2], http: newClient(version), version: version}).run()
		}
	default:
		log.Fatalf("no role %q", os.Args[1])
	}
}
