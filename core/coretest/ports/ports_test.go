package ports_test

import (
	"errors"
	"net"
	"strconv"
	"syscall"
	"testing"

	"github.com/opengatewayprotocol/ogp/core/coretest/ports"
)

func TestNobodyTakesItsPort(t *testing.T) {
	at := ports.Nobody(t)
	if ln, err := net.Listen("tcp", at); err == nil {
		ln.Close()
		t.Errorf("somebody can listen on %s", at)
	}
	for range 100 { // who asks for any port does not get it, and nobody else's is it
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		if ln.Addr().String() == at {
			t.Fatalf("the system gives %s to the next", at)
		}
	}
	if c, err := net.Dial("tcp", at); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("Dial(%s) = %v, %v; want a refused connection", at, c, err)
	}
}

func TestFreeIsForOne(t *testing.T) {
	seen := map[int]bool{}
	for range 200 {
		port := ports.Free(t)
		if seen[port] || port >= 32768 {
			t.Fatalf("%d: given before %v", port, seen[port])
		}
		seen[port] = true
		for range 2 { // and again
			ln, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port))
			if err != nil {
				t.Fatal(err)
			}
			ln.Close()
		}
	}
}

func TestHoldPassesWhatIsTaken(t *testing.T) {
	port, release, err := ports.Hold()
	if err != nil {
		t.Fatal(err)
	}
	defer release()
	// One that listens without a mark, and one that marks in another process, as it were.
	taken, err := net.Listen("tcp", "127.0.0.1:"+strconv.Itoa(port+1))
	if err == nil {
		defer taken.Close()
	}
	marked, err := net.ListenPacket("udp4", "127.0.0.1:"+strconv.Itoa(port+2))
	if err == nil {
		defer marked.Close()
	}
	for range 3 {
		got := ports.Free(t)
		if got == port || got == port+1 || got == port+2 {
			t.Errorf("%d is taken", got)
		}
	}
}
