package jobs

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"tokenrelay/admin/mail"
	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/ledger"
	"tokenrelay/shared/money"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// inbox takes mails by SMTP; while down it answers every one with 451.
type inbox struct {
	mu   sync.Mutex
	down bool
	got  []string // recipients
}

func (in *inbox) serve(c net.Conn) {
	defer func() { _ = c.Close() }()
	_ = c.SetDeadline(time.Now().Add(30 * time.Second))
	r := bufio.NewReader(c)
	say := func(text string) { _, _ = fmt.Fprintf(c, "%s\r\n", text) }
	say("220 inbox")
	to := ""
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			return
		}
		in.mu.Lock()
		down := in.down
		in.mu.Unlock()
		switch {
		case strings.HasPrefix(line, "RCPT"):
			to = strings.TrimSuffix(strings.TrimPrefix(strings.Fields(line)[1], "TO:<"), ">")
			say(map[bool]string{true: "451 later", false: "250 ok"}[down])
		case strings.HasPrefix(line, "DATA"):
			say("354 go on")
			for line != ".\r\n" {
				if line, err = r.ReadString('\n'); err != nil {
					return
				}
			}
			in.mu.Lock()
			in.got = append(in.got, to)
			in.mu.Unlock()
			say("250 ok")
		case strings.HasPrefix(line, "QUIT"):
			say("221 bye")
			return
		default:
			say("250 ok")
		}
	}
}

// S4-17: a balance below its threshold, a cap that is reached, a paused provider: an event
// once a day for each, a mail for each to whom it concerns, once, and again only until the
// server takes it.
func TestEventsAreToldOnce(t *testing.T) {
	db, err := store.Open(t.Context(), pgtest.New(t), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	box, err := seal.New(make([]byte, seal.KeySize))
	if err != nil {
		t.Fatal(err)
	}
	in := &inbox{down: true}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	defer func() { _ = l.Close(); running.Wait() }()
	running.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			running.Go(func() { in.serve(c) })
		}
	})
	sender, err := mail.NewSender("smtp://"+l.Addr().String(), "", "Relay")
	if err != nil {
		t.Fatal(err)
	}
	r := New(db, obs.Discard(), obs.NewMetrics(false), store.Keep{}, Mailing{Writer: &mail.Writer{Brand: "Relay", PublicURL: "http://r"}, Sender: sender, Box: box})
	now := time.Now()
	r.now = func() time.Time { return now }

	ctx := t.Context()
	poor, err := db.CreateClient(ctx, "test", store.NewClient{Name: "Poor", Credit: money.USD})
	if err != nil {
		t.Fatal(err)
	}
	rich, err := db.CreateClient(ctx, "test", store.NewClient{Name: "Rich", Credit: 100 * money.USD})
	if err != nil {
		t.Fatal(err)
	}
	threshold := 5 * money.USD
	for _, c := range []store.Client{poor, rich} {
		if _, err := db.PatchPolicy(ctx, "test", c.ID, store.PolicyPatch{LowBalance: &threshold}); err != nil {
			t.Fatal(err)
		}
	}
	if err := db.SetAlerts(ctx, "test", poor.ID, store.AlertPlan{Mail: true, Emails: []string{"cfo@poor.example", "cto@poor.example"}}); err != nil {
		t.Fatal(err)
	}
	for _, email := range []string{"boss@relay.example", "boss2@relay.example"} {
		if _, err := db.CreateUser(ctx, "test", store.User{Email: email, PasswordHash: "x", Operator: true}); err != nil {
			t.Fatal(err)
		}
	}
	events, mails := r.events(), r.mails()
	check := func(what string, n int, sent ...string) {
		t.Helper()
		for _, job := range []func(context.Context) error{events, mails} {
			if err := job(ctx); err != nil {
				t.Fatal(err)
			}
		}
		list, err := db.Events(ctx, store.EventFilter{})
		if err != nil {
			t.Fatal(err)
		}
		in.mu.Lock()
		defer in.mu.Unlock()
		if got := strings.Join(in.got, " "); len(list) != n || got != strings.Join(sent, " ") {
			t.Errorf("%s: %d events, mails to %q; want %d, %q: %+v", what, len(list), got, n, sent, list)
		}
	}
	check("the server is down", 1)
	in.mu.Lock()
	in.down = false
	in.mu.Unlock()
	due := func() { // a minute later
		if err := db.MailFailed(ctx, 1, "", time.Nanosecond); err != nil {
			t.Fatal(err)
		}
		if err := db.MailFailed(ctx, 2, "", time.Nanosecond); err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Millisecond)
	}
	due()
	check("the server is back", 1, "cfo@poor.example", "cto@poor.example")
	check("nothing is new", 1, "cfo@poor.example", "cto@poor.example")
	// A top-up and another fall on the same day are not told again, but tomorrow is.
	if _, err := db.AddEntry(ctx, "test", store.NewEntry{WalletID: poor.WalletID, Kind: ledger.Recharge, Amount: money.USD}); err != nil {
		t.Fatal(err)
	}
	check("still below", 1, "cfo@poor.example", "cto@poor.example")
	now = now.AddDate(0, 0, 1)
	check("tomorrow", 2, "cfo@poor.example", "cto@poor.example", "cfo@poor.example", "cto@poor.example")
}
