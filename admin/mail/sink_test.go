package mail

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"mime/quotedprintable"
	"net"
	"net/mail"
	"strings"
	"sync"
	"testing"
	"time"
)

// sink is an SMTP server that keeps what it gets and refuses whom it is told to.
type sink struct {
	address string
	mu      sync.Mutex
	got     []string
	answers map[string]string // recipient → answer to RCPT
}

func newSink(t *testing.T) *sink {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &sink{address: l.Addr().String(), answers: map[string]string{}}
	var running sync.WaitGroup
	t.Cleanup(func() { _ = l.Close(); running.Wait() })
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { s.serve(c) })
		}
	})
	return s
}

func (s *sink) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	say := func(text string) { _, _ = fmt.Fprintf(c, "%s\r\n", text) }
	say("220 sink")
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		switch verb := strings.ToUpper(strings.Fields(line + " x")[0]); verb {
		case "EHLO", "HELO":
			say("250 sink")
		case "RCPT":
			answer := "250 ok"
			s.mu.Lock()
			for who, text := range s.answers {
				if strings.Contains(line, who) {
					answer = text
				}
			}
			s.mu.Unlock()
			say(answer)
		case "DATA":
			say("354 go on")
			var body strings.Builder
			for {
				line, err := r.ReadString('\n')
				if err != nil {
					return
				}
				if line == ".\r\n" {
					break
				}
				body.WriteString(strings.TrimPrefix(line, "."))
			}
			s.mu.Lock()
			s.got = append(s.got, body.String())
			s.mu.Unlock()
			say("250 kept")
		case "QUIT":
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// parts reads a mail's two forms.
func parts(t *testing.T, raw string) (head mail.Header, text, html string) {
	t.Helper()
	m, err := mail.ReadMessage(strings.NewReader(raw))
	if err != nil {
		t.Fatal(err)
	}
	_, params, err := mime.ParseMediaType(m.Header.Get("Content-Type"))
	if err != nil {
		t.Fatal(err)
	}
	for r := multipart.NewReader(m.Body, params["boundary"]); ; {
		p, err := r.NextRawPart()
		if err == io.EOF {
			return m.Header, text, html
		}
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(quotedprintable.NewReader(p))
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.Header.Get("Content-Type"), "text/html") {
			html = string(body)
		} else {
			text = string(body)
		}
	}
}

// S4-17, H1, H8: every kind of mail goes out as text and as HTML; what customers call
// things is text in both, and links go to the configured address.
func TestMailsGoOutInBothForms(t *testing.T) {
	s := newSink(t)
	sender, err := NewSender("smtp://"+s.address+"?from=relay@example.com", "", `The "Relay"`)
	if err != nil {
		t.Fatal(err)
	}
	w := &Writer{Brand: "Token Relay", Contact: "help@example.com", PublicURL: "https://relay.example/"}
	evil := "<script>alert(1)</script>\r\nBcc: victim@example.com"
	data := map[string]string{
		"key_name": evil, "key_id": "k1", "spent": "5", "cap": "5", "limit": "monthly_cap", "available": "0.5", "threshold": "1", "provider": evil, "actor": evil,
		"model": evil, "month": "2026-10", "charge": "1", "link": "/console/reset?token=T", "client": evil, "group": "g", "calls": "9", "failed": "8", "percent": "88", "attempts": "9",
	}
	n := 0
	for kind := range letters {
		l, err := w.Write(kind, data)
		if err != nil {
			t.Fatal(err)
		}
		if permanent, err := sender.Send(context.Background(), "mail-7", "ann@example.com", l); err != nil || permanent {
			t.Fatalf("%s: %v", kind, err)
		}
		n++
		head, text, html := parts(t, s.got[len(s.got)-1])
		switch {
		case head.Get("Bcc") != "" || head.Get("Message-Id") != "<mail-7@127.0.0.1>" || !strings.Contains(head.Get("From"), "<relay@example.com>"):
			t.Errorf("%s: header %v", kind, head)
		case strings.Contains(html, "<script>") || strings.Contains(text, "\nBcc:") || strings.Contains(text, "{{") || strings.Contains(text, "<no value>"):
			t.Errorf("%s: %s %s", kind, text, html)
		case !strings.Contains(text, "https://relay.example/console") || !strings.Contains(html, `href="https://relay.example/console`):
			t.Errorf("%s has no link: %s", kind, text)
		}
	}
	if n != 10 {
		t.Errorf("%d kinds of mail were tried", n)
	}
}

// What will not change by itself is not tried again; what may, is.
func TestRefusedMails(t *testing.T) {
	s := newSink(t)
	s.answers["gone@example.com"], s.answers["full@example.com"] = "550 no such user", "452 try later"
	sender, err := NewSender("smtp://"+s.address, "help@example.com", "")
	if err != nil {
		t.Fatal(err)
	}
	l := &Letter{Subject: "s", Text: "t", HTML: "h"}
	for to, want := range map[string]bool{"gone@example.com": true, "full@example.com": false} {
		permanent, err := sender.Send(t.Context(), "mail-1", to, l)
		if err == nil || permanent != want || strings.Contains(err.Error(), to) {
			t.Errorf("%s: permanent %v, %v", to, permanent, err)
		}
	}
	dead, err := NewSender("smtp://127.0.0.1:1", "", "")
	if err != nil {
		t.Fatal(err)
	}
	if permanent, err := dead.Send(t.Context(), "mail-1", "a@example.com", l); err == nil || permanent {
		t.Errorf("a server that is away: permanent %v, %v", permanent, err)
	}
	for _, bad := range []string{"", "http://x", "smtp://", "smtp://h:x", "mail.example.com:25"} {
		if _, err := NewSender(bad, "", ""); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}
