// Command newcomersink stands for OpenClaw in .ci/newcomer: it takes what is posted to
// its hooks with the token of its first argument, and appends it to the file of its
// second. It prints the port that it listens on.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
)

func main() {
	token, file := os.Args[1], os.Args[2]
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ln.Addr().(*net.TCPAddr).Port)
	var mu sync.Mutex // guards the file
	log.Fatal(http.Serve(ln, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+token || r.Method != http.MethodPost {
			http.Error(w, `{"ok":false}`, http.StatusUnauthorized)
			return
		}
		body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
		if err != nil {
			http.Error(w, `{"ok":false}`, http.StatusBadRequest)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		f, err := os.OpenFile(file, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			log.Fatal(err)
		}
		defer f.Close()
		fmt.Fprintln(f, r.URL.Path, strings.ReplaceAll(string(body), "\n", " "))
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"ok":true,"runId":"1"}`)
	})))
}
