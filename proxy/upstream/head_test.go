package upstream

import (
	"errors"
	"strings"
	"testing"
)

// C18: whatever could make one response read as another is refused.
func TestParseHeadFailure(t *testing.T) {
	f := func(head string) {
		t.Helper()
		var h Head
		if n, err := parseHead([]byte(head), &h); !errors.Is(err, ErrBadResponse) {
			t.Fatalf("parseHead(%q) = %d, %v; want ErrBadResponse", head, n, err)
		}
	}
	f("HTTP/2 200 OK\r\n\r\n")
	f("HTTP/1.2 200 OK\r\n\r\n")
	f("HTTP/1.1 2x0 OK\r\n\r\n")
	f("HTTP/1.1 099 OK\r\n\r\n")
	f("HTTP/1.1 2000 OK\r\n\r\n")
	f("ICY 200 OK\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 1, 1\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: +1\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 9999999999999999999\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nA : b\r\n\r\n")
	f("HTTP/1.1 200 OK\r\n: b\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nnocolon\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nA: b\rc\r\n\r\n")
	f("HTTP/1.1 200 OK\r\nA: b\x00c\r\n\r\n")
}

func TestParseHeadSuccess(t *testing.T) {
	f := func(head string, want Head) {
		t.Helper()
		for _, tail := range []string{"", "body"} {
			var h Head
			n, err := parseHead([]byte(head+tail), &h)
			if err != nil || n != len(head) {
				t.Fatalf("parseHead(%q) = %d, %v; want %d", head, n, err, len(head))
			}
			if h.Status != want.Status || h.ContentLength != want.ContentLength || h.Chunked != want.Chunked || h.Close != want.Close ||
				string(h.ContentType) != string(want.ContentType) || string(h.RetryAfter) != string(want.RetryAfter) || string(h.ContentEncoding) != string(want.ContentEncoding) {
				t.Fatalf("parseHead(%q) = %+v; want %+v", head, h, want)
			}
		}
		// Every shorter head asks for more.
		for i := range head {
			var h Head
			if n, err := parseHead([]byte(head[:i]), &h); n != 0 || err != nil {
				t.Fatalf("parseHead(%q) = %d, %v; want to wait for more", head[:i], n, err)
			}
		}
	}
	f("HTTP/1.1 200 OK\r\nContent-Length: 12\r\ncontent-type: text/event-stream\r\n\r\n", Head{Status: 200, ContentLength: 12, ContentType: []byte("text/event-stream")})
	f("HTTP/1.1 200\r\nTRANSFER-ENCODING: Chunked\r\n\r\n", Head{Status: 200, ContentLength: -1, Chunked: true})
	f("HTTP/1.0 503 No\nRetry-After:  7 \nConnection: Keep-Alive\n\n", Head{Status: 503, ContentLength: -1, RetryAfter: []byte("7")})
	f("HTTP/1.0 200 OK\r\n\r\n", Head{Status: 200, ContentLength: -1, Close: true})
	f("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\nConnection: close\r\nContent-Encoding: gzip\r\n\r\n", Head{Status: 200, ContentLength: 5, Close: true, ContentEncoding: []byte("gzip")})
}

func TestParseHeadTooLarge(t *testing.T) {
	var h Head
	big := "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", maxHead)
	if _, err := parseHead([]byte(big), &h); !errors.Is(err, ErrHeadTooLarge) {
		t.Fatalf("got %v; want ErrHeadTooLarge", err)
	}
}

func FuzzParseHead(f *testing.F) {
	f.Add([]byte("HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n"))
	f.Add([]byte("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		var h Head
		n, err := parseHead(b, &h)
		if n < 0 || n > len(b) || (err != nil && n != 0) {
			t.Fatalf("n = %d of %d, err = %v", n, len(b), err)
		}
		if n > 0 && (h.Status < 100 || h.Status > 999 || (h.Chunked && h.ContentLength >= 0)) {
			t.Fatalf("accepted %+v", h)
		}
	})
}
