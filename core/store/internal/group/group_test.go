package group

import (
	"context"
	"errors"
	"sync"
	"testing"
)

type member struct {
	Change
	n int
}

var errClosed = errors.New("closed")

// TestLoneIsWrittenByItsCaller: nobody else has to be woken for a change that finds nobody
// writing, and what comes meanwhile is written together.
func TestLoneIsWrittenByItsCaller(t *testing.T) {
	var batches [][]int
	begun, more := make(chan struct{}, 3), make(chan struct{})
	q := New(10, func(batch []*member) {
		var ns []int
		for _, m := range batch {
			ns = append(ns, m.n)
		}
		batches = append(batches, ns) // one at a time, or -race says so
		begun <- struct{}{}
		<-more
		for _, m := range batch {
			m.Answer()
		}
	})
	var all sync.WaitGroup
	submit := func(n int) {
		all.Go(func() {
			if err := q.Submit(context.Background(), &member{n: n}, false, errClosed); err != nil {
				t.Errorf("%d: %v", n, err)
			}
		})
	}
	submit(1)
	<-begun // without any writer
	select {
	case <-q.Wake():
		t.Error("a writer is woken for a lone change")
	default:
	}
	submit(2)
	<-q.Wake() // it is to be written by somebody else
	submit(3)
	<-q.Wake()
	close(more)
	if some, _ := q.Step(); !some {
		t.Error("nothing is left to the writer")
	}
	all.Wait()
	if len(batches) != 2 || len(batches[0]) != 1 || len(batches[1]) != 2 {
		t.Errorf("batches %v, want one and two", batches)
	}
	q.Close()
	if err := q.Submit(context.Background(), &member{}, false, errClosed); err != errClosed {
		t.Errorf("closed: %v", err)
	}
	if _, wait := q.Step(); wait >= 0 {
		t.Errorf("closed and empty: waits %v", wait)
	}
}

// TestLazyIsTaken: a lazy change writes nothing itself, and goes with the next.
func TestLazyIsTaken(t *testing.T) {
	sizes := make(chan int, 2)
	q := New(10, func(batch []*member) {
		sizes <- len(batch)
		for _, m := range batch {
			m.Answer()
		}
	})
	var all sync.WaitGroup
	all.Go(func() { _ = q.Submit(context.Background(), &member{}, true, errClosed) })
	<-q.Wake()
	if some, wait := q.Step(); some || wait <= 0 {
		t.Errorf("a lazy change is written at once: %t, %v", some, wait)
	}
	if err := q.Submit(context.Background(), &member{}, false, errClosed); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if n := <-sizes; n != 2 {
		t.Errorf("%d were written together, want both", n)
	}
}

// TestBehindMoreThanABatch: who writes itself goes on until its own change is written.
func TestBehindMoreThanABatch(t *testing.T) {
	var sizes []int
	q := New(2, func(batch []*member) {
		sizes = append(sizes, len(batch))
		for _, m := range batch {
			m.Answer()
		}
	})
	var all sync.WaitGroup
	for range 5 {
		all.Go(func() { _ = q.Submit(context.Background(), &member{}, true, errClosed) })
		<-q.Wake()
	}
	if err := q.Submit(context.Background(), &member{}, false, errClosed); err != nil {
		t.Fatal(err)
	}
	all.Wait()
	if len(sizes) != 3 {
		t.Errorf("batches of %v, want three of two", sizes)
	}
}
