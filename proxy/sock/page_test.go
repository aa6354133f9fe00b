package sock

import (
	"bytes"
	"errors"
	"io"
	"os"
	"testing"
	"time"
)

// Pages bring the bytes whole, in any pieces, and a read that waits holds none.
func TestReadPage(t *testing.T) {
	c, far := pair(t)
	want := pattern(200_000)
	sent := make(chan error, 1)
	go func() {
		for _, p := range [][]byte{want[:1], want[1:17_000], want[17_000:]} {
			time.Sleep(30 * time.Millisecond)
			if !plain && c.page != nil { // its reader waits
				sent <- errors.New("a page is held while nothing is there")
				return
			}
			if _, err := far.Write(p); err != nil {
				sent <- err
				return
			}
		}
		sent <- far.CloseWrite()
	}()
	var got []byte
	for {
		page, n, err := c.ReadPage()
		if page != nil {
			got = append(got, page[:n]...)
			page.Release()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got, want) {
		t.Errorf("%d bytes came, %d were sent", len(got), len(want))
	}
}

// A deadline that passes leaves no page behind, and the next read goes on.
func TestReadPageDeadline(t *testing.T) {
	c, far := pair(t)
	if err := c.SetReadDeadline(time.Now().Add(20 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	page, n, err := c.ReadPage()
	if !errors.Is(err, os.ErrDeadlineExceeded) || n != 0 || page != nil && !plain {
		t.Fatalf("%v %d %v", page != nil, n, err)
	}
	if page != nil {
		page.Release()
	}
	if err := c.SetReadDeadline(time.Time{}); err != nil {
		t.Fatal(err)
	}
	_, _ = far.Write([]byte("more"))
	page, n, err = c.ReadPage()
	if err != nil || string(page[:n]) != "more" {
		t.Fatalf("%d %v", n, err)
	}
	page.Release()
}

// What is owed goes out with a read of a page too.
func TestReadPageOwed(t *testing.T) {
	c, far := pair(t)
	go func() {
		b := make([]byte, 3)
		_, _ = io.ReadFull(far, b)
		_, _ = far.Write(append([]byte("re:"), b...))
	}()
	c.Owe([]byte("ask"))
	page, n, err := c.ReadPage()
	if err != nil || string(page[:n]) != "re:ask" {
		t.Fatalf("%q %v", page[:n], err)
	}
	page.Release()
}

// The race detector's reads are net's, with allocations of their own.
func TestReadPageAllocations(t *testing.T) {
	c, far := pair(t)
	echo(t, far)
	ask := []byte("x")
	if n := testing.AllocsPerRun(1000, func() {
		c.Owe(ask)
		page, n, err := c.ReadPage()
		if n != 1 || err != nil {
			t.Fatal(n, err)
		}
		page.Release()
	}); n != 0 && !plain {
		t.Errorf("%v allocations a read", n)
	}
}

func echo(t *testing.T, far io.ReadWriter) {
	t.Helper()
	go func() {
		b := make([]byte, 1)
		for {
			if _, err := far.Read(b); err != nil {
				return
			}
			if _, err := far.Write(b); err != nil {
				return
			}
		}
	}()
}
