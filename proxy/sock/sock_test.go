package sock

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// pair is a connection and its peer.
func pair(t testing.TB) (*Conn, *net.TCPConn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = ln.Close() }()
	near, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	far, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _, _ = near.Close(), far.Close() })
	c := new(Conn)
	if err := c.Init(near.(*net.TCPConn)); err != nil {
		t.Fatal(err)
	}
	return c, far.(*net.TCPConn)
}

func pattern(n int) []byte {
	p := make([]byte, n)
	for i := range p {
		p[i] = byte(i * 7 / 5)
	}
	return p
}

// Bytes pass whole both ways, in pieces of any size, also when nobody takes them for a
// while: below and above the size that takes net's way.
func TestBytesPassWhole(t *testing.T) {
	for _, size := range []int{0, 1, 1000, 64 << 10, Large - 1, Large, 8 << 20} {
		c, far := pair(t)
		want := pattern(size)
		echoed := make(chan error, 1)
		go func() {
			time.Sleep(10 * time.Millisecond) // the kernel's buffers fill
			got := make([]byte, size)
			_, err := io.ReadFull(far, got)
			if err == nil && !bytes.Equal(got, want) {
				err = errors.New("other bytes arrived")
			}
			if err == nil {
				_, err = far.Write(got)
			}
			echoed <- errors.Join(err, far.CloseWrite())
		}()
		if n, err := c.Write(want); n != size || err != nil {
			t.Fatalf("%d bytes: wrote %d, %v", size, n, err)
		}
		got, err := io.ReadAll(c)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
		}
		if err := <-echoed; err != nil {
			t.Fatalf("%d bytes: %v", size, err)
		}
	}
}

// What is owed goes out with the next Read, whatever the kernel takes at once, and the
// Read returns what answers it.
func TestOwed(t *testing.T) {
	for _, size := range []int{1, 64 << 10, 16 << 20} {
		c, far := pair(t)
		c.OwedWithin = 10 * time.Second
		for round := range 3 {
			want := append(pattern(size), byte(round))
			answered := make(chan error, 1)
			go func() {
				got := make([]byte, len(want))
				_, err := io.ReadFull(far, got)
				if err == nil && !bytes.Equal(got, want) {
					err = errors.New("other bytes arrived")
				}
				_, err2 := far.Write([]byte{byte(round), 42})
				answered <- errors.Join(err, err2)
			}()
			var b [16]byte
			c.Owe(want)
			n, err := c.Read(b[:])
			if err != nil || !bytes.Equal(b[:n], []byte{byte(round), 42}) || c.Failed() {
				t.Fatalf("%d bytes: got %x, %v, failed %v", size, b[:n], err, c.Failed())
			}
			if err := <-answered; err != nil {
				t.Fatal(err)
			}
		}
	}
}

// A deadline ends a Read that waits; what was owed has been written once, and the next
// Read goes on waiting for its answer.
func TestDeadlineAmidOwed(t *testing.T) {
	c, far := pair(t)
	var b [16]byte
	c.Owe([]byte("ask"))
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Millisecond))
	n, err := c.Read(b[:])
	var timeout net.Error
	if n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !errors.As(err, &timeout) || !timeout.Timeout() {
		t.Fatalf("%d, %v", n, err)
	}
	_ = c.SetReadDeadline(time.Time{})
	if _, err := far.Write([]byte("late")); err != nil {
		t.Fatal(err)
	}
	if n, err := c.Read(b[:]); err != nil || string(b[:n]) != "late" {
		t.Fatalf("%q, %v", b[:n], err)
	}
	_ = c.Close()
	if got, err := io.ReadAll(far); err != nil || string(got) != "ask" {
		t.Fatalf("the peer got %q, %v", got, err)
	}
}

// A peer that does not take what is owed ends the Read in time.
func TestOwedWithin(t *testing.T) {
	c, _ := pair(t)
	c.OwedWithin = 30 * time.Millisecond
	c.Owe(make([]byte, 32<<20))
	var b [16]byte
	if n, err := c.Read(b[:]); n != 0 || !errors.Is(err, os.ErrDeadlineExceeded) || !c.Failed() {
		t.Fatalf("%d, %v, failed %v", n, err, c.Failed())
	}
}

// What a peer said before it closed is read though it did not take what it was sent.
func TestAnswerBeforeTheRequest(t *testing.T) {
	c, far := pair(t)
	if _, err := far.Write([]byte("too large")); err != nil {
		t.Fatal(err)
	}
	time.Sleep(5 * time.Millisecond)
	_ = c.CloseWrite() // as a reset would: the next write fails, what has come is there
	c.Owe([]byte("x"))
	var b [16]byte
	if n, err := c.Read(b[:]); err != nil || string(b[:n]) != "too large" || !c.Failed() {
		t.Fatalf("%q, %v, failed %v", b[:n], err, c.Failed())
	}
}

// Ends and faults have the names that net gives them.
func TestEndsHaveNetsNames(t *testing.T) {
	c, far := pair(t)
	_ = far.SetLinger(0)
	_ = far.Close() // a reset
	var b [1]byte
	if _, err := c.Read(b[:]); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("a reset is %v", err)
	}
	if _, err := c.Write(b[:]); !errors.Is(err, syscall.EPIPE) {
		t.Errorf("a write behind it is %v", err)
	}
	_ = c.Close()
	if _, err := c.Read(b[:]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a read behind Close is %v", err)
	}
	if _, err := c.Write(b[:]); !errors.Is(err, net.ErrClosed) {
		t.Errorf("a write behind Close is %v", err)
	}
	c, far = pair(t)
	_ = far.CloseWrite()
	if _, err := c.Read(b[:]); err != io.EOF {
		t.Errorf("the end is %v", err)
	}
}

// An exchange of a request and its answer allocates nothing.
func TestNothingAllocated(t *testing.T) {
	c, far := pair(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		var b [16]byte
		for {
			n, err := far.Read(b[:])
			if err != nil {
				return
			}
			_, _ = far.Write(b[:n])
		}
	}()
	request, b := []byte("ask"), make([]byte, 16)
	if n := testing.AllocsPerRun(200, func() {
		c.Owe(request)
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Write(request); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Read(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
	_ = c.Close()
	<-done
}

// BenchmarkAsk is a request and its answer on one connection, beside net's own calls. The
// peer uses net's in both.
func BenchmarkAsk(b *testing.B) {
	for _, way := range []string{"net", "sock"} {
		b.Run(way, func(b *testing.B) {
			c, far := pair(b)
			go func() {
				var p [2048]byte
				for {
					n, err := far.Read(p[:])
					if err != nil {
						return
					}
					_, _ = far.Write(p[:n])
				}
			}()
			p, got := make([]byte, 1000), make([]byte, 2048)
			b.ReportAllocs()
			for b.Loop() {
				if way == "net" {
					_, _ = c.TCPConn.Write(p)
					_, _ = c.TCPConn.Read(got)
				} else {
					c.Owe(p)
					_, _ = c.Read(got)
				}
			}
		})
	}
}
