package main

import (
	"bufio"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
)

func serve(address string) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/abort", abort)
	mux.HandleFunc("/bytes", bytes)
	mux.HandleFunc("/duplex", duplex)
	mux.HandleFunc("/early", early)
	mux.HandleFunc("/echo", echo)
	mux.HandleFunc("/headers", headers)
	mux.HandleFunc("/hints", hints)
	mux.HandleFunc("/status/{code}", status)
	mux.HandleFunc("/trailers", trailers)
	mux.HandleFunc("/upgrade", upgrade)
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	server := http.Server{Addr: address, Handler: mux, Protocols: protocols, MaxHeaderBytes: 256 << 10}
	return server.ListenAndServe()
}

// Everything of the request that an application can see.
func echo(w http.ResponseWriter, r *http.Request) {
	hash := sha256.New()
	length, err := io.Copy(hash, r.Body)
	w.Header().Set("Content-Type", "text/plain")
	fmt.Fprintf(w, "%s %s %s host %s length %d encoding %v\n", r.Method, r.RequestURI, r.Proto, r.Host, r.ContentLength, r.TransferEncoding)
	// the mesh says who asks, and an offer of another protocol is about one connection
	for _, name := range []string{"L5d-Client-Id", "Connection", "Upgrade", "Http2-Settings"} {
		r.Header.Del(name)
	}
	writeFields(w, r.Header)
	fmt.Fprintf(w, "body %d %x %v\n", length, hash.Sum(nil), err)
	for name, values := range r.Trailer {
		fmt.Fprintf(w, "trailer %s: %q\n", name, values)
	}
}

func writeFields(w io.Writer, fields http.Header) {
	lines := []string{}
	for name, values := range fields {
		lines = append(lines, fmt.Sprintf("%s: %q\n", name, values))
	}
	slices.Sort(lines)
	io.WriteString(w, strings.Join(lines, ""))
}

// Part of a body, and then the connection (or the stream) is torn down.
func abort(w http.ResponseWriter, r *http.Request) {
	io.WriteString(w, strings.Repeat("part of a body\n", 100))
	w.(http.Flusher).Flush()
	panic(http.ErrAbortHandler)
}

// ?n=: so many bytes that can be checked.
func bytes(w http.ResponseWriter, r *http.Request) {
	left, _ := strconv.Atoi(r.FormValue("n"))
	block := make([]byte, 64<<10)
	for index := range block {
		block[index] = byte(index * 7 % 251)
	}
	for left > 0 {
		written, err := w.Write(block[:min(left, len(block))])
		if err != nil {
			return
		}
		left -= written
	}
}

// Line by line, each answered before the next is sent.
func duplex(w http.ResponseWriter, r *http.Request) {
	control := http.NewResponseController(w)
	if r.ProtoMajor == 1 {
		if err := control.EnableFullDuplex(); err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
	}
	w.WriteHeader(200)
	control.Flush()
	lines := bufio.NewScanner(r.Body)
	for lines.Scan() {
		fmt.Fprintf(w, "heard %s\n", lines.Text())
		control.Flush()
	}
}

// Answers without reading the body.
func early(w http.ResponseWriter, r *http.Request) {
	http.Error(w, "too much", http.StatusRequestEntityTooLarge)
}

func headers(w http.ResponseWriter, r *http.Request) {
	for index := range 100 {
		w.Header().Add("X-Many", strconv.Itoa(index))
	}
	w.Header()["X-Empty"] = []string{""}
	w.Header().Set("X-Long", strings.Repeat("long ", 6_000))
	w.Header().Add("Set-Cookie", "a=1; Path=/")
	w.Header().Add("Set-Cookie", "b=2, 3; Path=/")
	io.WriteString(w, "headers\n")
}

func hints(w http.ResponseWriter, r *http.Request) {
	w.Header().Add("Link", "</style.css>; rel=preload; as=style")
	w.WriteHeader(http.StatusEarlyHints)
	w.Header().Add("Link", "</script.js>; rel=preload; as=script")
	w.WriteHeader(http.StatusEarlyHints)
	io.WriteString(w, "hinted\n")
}

func status(w http.ResponseWriter, r *http.Request) {
	code, _ := strconv.Atoi(r.PathValue("code"))
	w.WriteHeader(code)
}

func trailers(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Trailer", "X-Declared")
	io.WriteString(w, "body\n")
	w.Header().Set("X-Declared", "after the body")
	w.Header().Set(http.TrailerPrefix+"X-Undeclared", "too")
}

// Another protocol on the same connection: every byte comes back.
func upgrade(w http.ResponseWriter, r *http.Request) {
	connection, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusNotImplemented)
		return
	}
	defer connection.Close()
	io.WriteString(connection, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	io.Copy(connection, buffered)
}
