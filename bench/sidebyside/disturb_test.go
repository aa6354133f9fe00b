package main

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// The operator does what is ordered until it is told to stop, says how long each took, and
// what went wrong.
func TestDisturb(t *testing.T) {
	var asked atomic.Int64
	admin := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer secret" {
			w.WriteHeader(http.StatusUnauthorized)
			_, _ = io.WriteString(w, "no operator")
		}
		asked.Add(1)
	}))
	defer admin.Close()
	in, orders := io.Pipe()
	answers, out := io.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- disturb(in, out) }()
	op := operator{admin: admin.URL, token: "secret", orders: json.NewEncoder(orders), answers: json.NewDecoder(answers)}
	for i, d := range disturbances {
		before := asked.Load()
		if err := op.begin(i); err != nil {
			t.Fatal(err)
		}
		for limit := time.Now().Add(10 * time.Second); asked.Load() < before+3; time.Sleep(time.Millisecond) {
			if time.Now().After(limit) {
				t.Fatalf("%s: asked %d times", d.name, asked.Load()-before)
			}
		}
		took, err := op.end()
		if err != nil {
			t.Fatal(err)
		}
		if n := asked.Load() - before; n != int64(len(took)) {
			t.Errorf("%s: %d times of %d requests", d.name, len(took), n)
		}
		rest := asked.Load()
		if time.Sleep(50 * time.Millisecond); asked.Load() != rest {
			t.Errorf("%s goes on", d.name)
		}
	}
	op.token = "wrong"
	if err := op.begin(0); err != nil {
		t.Fatal(err)
	}
	time.Sleep(20 * time.Millisecond)
	if _, err := op.end(); err == nil || !strings.Contains(err.Error(), "401: no operator") {
		t.Errorf("refused: %v", err)
	}
	_ = orders.Close()
	if err := <-ended; err != nil {
		t.Errorf("at the end: %v", err)
	}
}
