package sock

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"testing"
	"time"
)

// This Go keeps its notes where they are looked for: else all reads look first, as net's do,
// and a release is slower than it is said to be.
func TestGoIsKnown(t *testing.T) {
	if pollDescAt() == 0 {
		t.Fatal("runtime/netpoll.go or net's netFD has changed: see poll.go")
	}
}

// busy is a pair whose Read waits first: one byte has been read, and nothing more was there.
func busy(t *testing.T) (*Conn, *net.TCPConn) {
	t.Helper()
	c, far := pair(t)
	c.WaitFirst = true
	_, _ = far.Write([]byte{1})
	var b [8]byte
	if n, err := c.Read(b[:]); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if !c.emptied && !plain {
		t.Fatal("the next read would look")
	}
	return c, far
}

func TestWaitFirstLosesNothing(t *testing.T) {
	c, far := busy(t)
	var b [64]byte
	for i := range 50 {
		want := pattern(1 + i)
		_, _ = far.Write(want)
		if i%2 == 0 {
			time.Sleep(time.Millisecond) // it has come and is noted before it is waited for
		}
		if n, err := io.ReadFull(c, b[:len(want)]); err != nil || !bytes.Equal(b[:n], want) {
			t.Fatalf("%d: %d %v", i, n, err)
		}
	}
}

// Pieces of any size at any time, read into memory of any size.
func TestWaitFirstHammered(t *testing.T) {
	for range 20 {
		c, far := busy(t)
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Second)) // for what got lost
		want := pattern(1 << 20)
		go func() {
			for p := want; len(p) > 0; {
				n := min(len(p), 1+rand.IntN(8000))
				_, _ = far.Write(p[:n])
				p = p[n:]
				if rand.IntN(10) == 0 {
					time.Sleep(time.Duration(rand.IntN(100)) * time.Microsecond)
				}
			}
		}()
		got := make([]byte, 0, len(want))
		for len(got) < len(want) {
			n, err := c.Read(got[len(got):min(len(want), len(got)+1+rand.IntN(8000))])
			if got = got[:len(got)+n]; err != nil {
				t.Fatalf("%d of %d bytes: %v", len(got), len(want), err)
			}
		}
		if !bytes.Equal(got, want) {
			t.Fatal("other bytes have come")
		}
	}
}

// An end that the kernel told of together with the bytes before it is seen behind the deadline.
func TestEndWithTheLastBytes(t *testing.T) {
	late := 0
	for range 50 {
		c, far := busy(t)
		_, _ = far.Write([]byte("last"))
		_ = far.CloseWrite()
		time.Sleep(time.Millisecond)
		var b [64]byte
		if n, err := c.Read(b[:]); err != nil || string(b[:n]) != "last" {
			t.Fatalf("%q %v", b[:n], err)
		}
		_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
		_, err := c.Read(b[:])
		if errors.Is(err, os.ErrDeadlineExceeded) {
			late++
			_ = c.SetReadDeadline(time.Time{})
			_, err = c.Read(b[:])
		}
		if err != io.EOF {
			t.Fatal(err)
		}
	}
	t.Logf("%d of 50 ends were seen behind the deadline", late)
}

func TestWaitFirstEnds(t *testing.T) {
	c, far := busy(t)
	var b [8]byte
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	var timeout net.Error
	if _, err := c.Read(b[:]); !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatal(err)
	}
	_ = c.SetReadDeadline(time.Time{})
	_, _ = far.Write([]byte("on"))
	if n, err := c.Read(b[:]); err != nil || string(b[:n]) != "on" {
		t.Fatalf("%q %v", b[:n], err)
	}
	closed := make(chan error, 1)
	go func() {
		time.Sleep(10 * time.Millisecond)
		closed <- c.Close()
	}()
	if _, err := c.Read(b[:]); !errors.Is(err, net.ErrClosed) {
		t.Fatal(err)
	}
	if err := <-closed; err != nil {
		t.Fatal(err)
	}

	c, far = busy(t)
	_ = far.SetLinger(0)
	_ = far.Close()
	if _, err := c.Read(b[:]); err == nil || err == io.EOF {
		t.Fatalf("a reset is %v", err)
	}
}

// Quiet ends with bytes and with the peer's end; a deadline that passes is neither.
func TestQuiet(t *testing.T) {
	if plain {
		t.Log("the race detector's reads are net's")
		return
	}
	stirs := func(c *Conn) bool {
		for range 1000 {
			if !c.Quiet() {
				return true
			}
			time.Sleep(time.Millisecond)
		}
		return false
	}
	c, far := busy(t)
	_ = c.SetReadDeadline(time.Now())
	time.Sleep(5 * time.Millisecond)
	if !c.Quiet() {
		t.Error("not quiet with nothing there")
	}
	if _, _ = far.Write([]byte{1}); !stirs(c) {
		t.Error("a byte has come, and all is quiet")
	}
	c, far = busy(t)
	if _ = far.CloseWrite(); !stirs(c) {
		t.Error("the peer has closed, and all is quiet")
	}
	c, _ = pair(t)
	if c.Quiet() {
		t.Error("quiet before the first look")
	}
}

// BenchmarkAnswer is what comes and its answer, as a server has it, on so many connections that
// the processors are never idle: the time is the processor's.
func BenchmarkAnswer(b *testing.B) {
	for _, way := range []string{"net", "look", "wait"} {
		b.Run(way, func(b *testing.B) {
			b.SetParallelism(16)
			b.ReportAllocs()
			b.RunParallel(func(pb *testing.PB) {
				c, far := pair(b)
				c.WaitFirst = way == "wait"
				read, write := c.Read, c.Write
				if way == "net" {
					read, write = c.TCPConn.Read, c.TCPConn.Write
				}
				done := make(chan struct{})
				go func() {
					defer close(done)
					p := make([]byte, 2000)
					for {
						if n, err := read(p); err != nil {
							return
						} else if _, err = write(p[:n]); err != nil {
							return
						}
					}
				}()
				p := make([]byte, 1000)
				for pb.Next() {
					_, _ = far.Write(p)
					_, _ = io.ReadFull(far, p)
				}
				_ = far.Close()
				<-done
			})
		})
	}
}
