package main

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"strings"
	"sync"
	"time"
)

type client struct {
	base    string
	http    *http.Client
	version string
}

func newClient(version string) *http.Client {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(version == "HTTP/1.1")
	protocols.SetUnencryptedHTTP2(version == "HTTP/2")
	transport := &http.Transport{Protocols: protocols, ExpectContinueTimeout: 10 * time.Second, MaxResponseHeaderBytes: 256 << 10}
	return &http.Client{Transport: transport, Timeout: 20 * time.Second, CheckRedirect: func(*http.Request, []*http.Request) error {
		return http.ErrUseLastResponse
	}}
}

func (c *client) run() {
	c.ask("GET", "/echo?a=%20b", nil, nil)
	c.ask("HEAD", "/echo", nil, nil)
	c.ask("DELETE", "/echo", nil, nil)
	c.ask("PATCH", "/echo", http.Header{"X-Twice": {"one", "two"}, "X-Empty": {""}}, strings.NewReader("small"))
	c.ask("POST", "/echo", nil, strings.NewReader(strings.Repeat("large ", 200_000)))
	c.ask("POST", "/echo", http.Header{"Expect": {"100-continue"}}, strings.NewReader(strings.Repeat("large ", 200_000)))
	c.ask("POST", "/early", http.Header{"Expect": {"100-continue"}}, strings.NewReader(strings.Repeat("large ", 200_000)))
	c.ask("POST", "/echo", nil, io.MultiReader(strings.NewReader("of unknown "), strings.NewReader("length")))
	c.trailers()
	c.ask("GET", "/headers", nil, nil)
	c.ask("GET", "/echo", http.Header{"X-Long": {strings.Repeat("x", 50_000)}}, nil)
	c.ask("GET", "/hints", nil, nil)
	c.ask("GET", "/trailers", nil, nil)
	for _, code := range []int{204, 205, 304, 404, 418, 599} {
		c.ask("GET", fmt.Sprintf("/status/%d", code), nil, nil)
	}
	c.ask("GET", "/bytes?n=20000000", nil, nil)
	c.ask("GET", "/abort", nil, nil)
	c.ask("GET", "/echo?after-an-aborted-one", nil, nil)
	c.duplex()
	c.slow()
	c.cancelled()
	c.atOnce()
	if c.version == "HTTP/1.1" {
		c.upgrade()
	}
}

// Sends a request and prints all of its answer.
func (c *client) ask(method, path string, header http.Header, body io.Reader) {
	request, err := http.NewRequest(method, c.base+path, body)
	if err != nil {
		panic(err)
	}
	for name, values := range header {
		request.Header[name] = values
	}
	c.do(request)
}

func (c *client) do(request *http.Request) {
	fmt.Printf("\n-- %s %s\n", request.Method, request.URL.Path)
	trace := httptrace.ClientTrace{
		Got100Continue: func() { fmt.Println("100 Continue") },
		Got1xxResponse: func(code int, header textproto.MIMEHeader) error {
			fmt.Println("interim", code)
			writeFields(os.Stdout, http.Header(header))
			return nil
		},
	}
	response, err := c.http.Do(request.WithContext(httptrace.WithClientTrace(context.Background(), &trace)))
	if err != nil {
		fmt.Println("failed:", kind(err))
		return
	}
	defer response.Body.Close()
	fmt.Println(response.Proto, response.Status, response.ContentLength, response.TransferEncoding)
	writeFields(os.Stdout, response.Header)
	content, err := io.ReadAll(response.Body)
	if len(content) > 100_000 {
		fmt.Printf("body %d %x\n", len(content), sha256.Sum256(content))
	} else {
		fmt.Printf("body %d %s\n", len(content), content)
	}
	if err != nil {
		fmt.Println("body failed:", kind(err))
	}
	writeFields(os.Stdout, response.Trailer)
}

// What failed, without addresses.
func kind(err error) string {
	text := err.Error()
	if at := strings.LastIndex(text, "\": "); at >= 0 {
		text = text[at+3:]
	}
	return text
}

func (c *client) trailers() {
	request, err := http.NewRequest("POST", c.base+"/echo", io.MultiReader(strings.NewReader("before trailers")))
	if err != nil {
		panic(err)
	}
	request.Trailer = http.Header{"X-After": {"a trailer of a request"}}
	c.do(request)
}

// A line is sent when the answer to the one before has come: nothing may wait for an end.
func (c *client) duplex() {
	fmt.Println("\n-- both directions at once")
	reader, writer := io.Pipe()
	request, err := http.NewRequest("POST", c.base+"/duplex", reader)
	if err != nil {
		panic(err)
	}
	go io.WriteString(writer, "0\n")
	response, err := c.http.Do(request)
	if err != nil {
		fmt.Println("failed:", kind(err))
		return
	}
	defer response.Body.Close()
	for number := 0; number < 20; number++ {
		var heard int
		if _, err := fmt.Fscanf(response.Body, "heard %d\n", &heard); err != nil {
			fmt.Println("failed:", number, kind(err))
			return
		}
		fmt.Print(heard, " ")
		fmt.Fprintf(writer, "%d\n", number+1)
	}
	writer.Close()
	rest, err := io.ReadAll(response.Body)
	fmt.Printf("rest %q %v\n", rest, err)
}

// Nobody reads a large answer while a hundred small ones come, on the same connection where there can be one.
func (c *client) slow() {
	fmt.Println("\n-- a reader that does not read")
	response, err := c.http.Get(c.base + "/bytes?n=30000000")
	if err != nil {
		fmt.Println("failed:", kind(err))
		return
	}
	defer response.Body.Close()
	good := 0
	for range 100 {
		if small, err := c.http.Get(c.base + "/bytes?n=1000"); err == nil {
			if content, err := io.ReadAll(small.Body); err == nil && len(content) == 1000 {
				good++
			}
			small.Body.Close()
		}
	}
	hash := sha256.New()
	length, err := io.Copy(hash, response.Body)
	fmt.Printf("%d small ones, and then %d %x %v\n", good, length, hash.Sum(nil), err)
}

// The client leaves in the middle of an answer, and goes on with another request.
func (c *client) cancelled() {
	fmt.Println("\n-- a client that leaves")
	context, cancel := context.WithCancel(context.Background())
	request, err := http.NewRequestWithContext(context, "GET", c.base+"/bytes?n=30000000", nil)
	if err != nil {
		panic(err)
	}
	response, err := c.http.Do(request)
	if err != nil {
		fmt.Println("failed:", kind(err))
		return
	}
	io.CopyN(io.Discard, response.Body, 100_000)
	cancel()
	_, err = io.Copy(io.Discard, response.Body)
	fmt.Println(err)
	response.Body.Close()
	c.ask("GET", "/echo?after-leaving", nil, nil)
}

func (c *client) atOnce() {
	fmt.Println("\n-- two hundred at once")
	var group sync.WaitGroup
	results := make([]string, 200)
	for index := range results {
		group.Go(func() {
			response, err := c.http.Post(fmt.Sprintf("%s/echo?%d", c.base, index), "text/plain", strings.NewReader(strings.Repeat("x", index*100)))
			if err != nil {
				results[index] = kind(err)
				return
			}
			defer response.Body.Close()
			content, err := io.ReadAll(response.Body)
			results[index] = fmt.Sprintf("%d %x %v", response.StatusCode, sha256.Sum256(content), err)
		})
	}
	group.Wait()
	for _, result := range results {
		fmt.Println(result)
	}
}

func (c *client) upgrade() {
	fmt.Println("\n-- another protocol on the same connection")
	request, err := http.NewRequest("GET", c.base+"/upgrade", nil)
	if err != nil {
		panic(err)
	}
	request.Header.Set("Connection", "Upgrade")
	request.Header.Set("Upgrade", "echo")
	response, err := c.http.Do(request)
	if err != nil {
		fmt.Println("failed:", kind(err))
		return
	}
	fmt.Println(response.Status)
	writeFields(os.Stdout, response.Header)
	stream, ok := response.Body.(io.ReadWriteCloser)
	if !ok {
		fmt.Println("not upgraded")
		return
	}
	defer stream.Close()
	for number := range 5 {
		fmt.Fprintf(stream, "%d\n", number)
		var heard int
		_, err := fmt.Fscanf(stream, "%d\n", &heard)
		fmt.Println(heard, err)
	}
}
