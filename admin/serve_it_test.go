package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/config"
	"tokenrelay/shared/obs"
	"tokenrelay/shared/store"
)

// served is a running admin process.
type served struct {
	t              *testing.T
	cmd            *exec.Cmd
	addr, internal string

	mu  sync.Mutex // guards log
	log strings.Builder
}

func (s *shell) serve(args ...string) *served {
	s.t.Helper()
	p := &served{t: s.t, cmd: exec.Command(binary, append([]string{"serve"}, args...)...)}
	p.cmd.Env = append(s.env, "RELAY_ADMIN_LISTEN=127.0.0.1:0", "RELAY_ADMIN_INTERNAL_LISTEN=127.0.0.1:0")
	stderr, err := p.cmd.StderrPipe()
	if err != nil {
		s.t.Fatal(err)
	}
	if err := p.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	listening := make(chan struct{})
	go func() {
		lines := bufio.NewScanner(stderr)
		for lines.Scan() {
			p.mu.Lock()
			p.log.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
			var line struct{ Msg, Addr, Internal string }
			if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "admin is listening" {
				p.addr, p.internal = line.Addr, line.Internal
				close(listening)
			}
		}
	}()
	s.t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	select {
	case <-listening:
	case <-time.After(20 * time.Second):
		s.t.Fatalf("admin serve does not listen:\n%s", p.logged())
	}
	return p
}

func (p *served) logged() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

func (p *served) get(url string) (int, string) {
	p.t.Helper()
	resp, err := http.Get(url)
	if err != nil {
		p.t.Fatalf("%v\n%s", err, p.logged())
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	return resp.StatusCode, string(body)
}

// await polls the readiness until it is want.
func (p *served) await(want int) string {
	p.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for {
		status, body := p.get("http://" + p.internal + "/readyz")
		if status == want {
			return body
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("/readyz stays %d %s, want %d\n%s", status, body, want, p.logged())
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop sends SIGTERM and returns the exit code.
func (p *served) stop() int {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- p.cmd.Wait() }()
	select {
	case <-done:
	case <-time.After(20 * time.Second):
		p.t.Fatalf("admin serve does not end after SIGTERM:\n%s", p.logged())
	}
	return p.cmd.ProcessState.ExitCode()
}

// Started before the schema is there, admin waits, says so, answers 503, and serves
// as soon as somebody has migrated. SIGTERM ends it with 0.
func TestServeWaitsForTheSchema(t *testing.T) {
	s := newShell(t, pgtest.Empty(t))
	p := s.serve()
	if body := p.await(503); !strings.Contains(body, "schema") {
		t.Errorf("/readyz says %s", body)
	}
	if status, body := p.get("http://" + p.addr + "/openapi/v1/client"); status != 503 || !strings.Contains(body, `"code":"overloaded"`) {
		t.Errorf("before the schema is there: %d %s", status, body)
	}
	s.ok(nil, "migrate")
	p.await(200)
	if status, body := p.get("http://" + p.addr + "/openapi/v1/client"); status != 401 {
		t.Errorf("afterwards, without a key: %d %s", status, body)
	}
	if status, _ := p.get("http://" + p.internal + "/healthz"); status != 200 {
		t.Errorf("/healthz: %d", status)
	}
	if _, body := p.get("http://" + p.internal + "/metrics"); !strings.Contains(body, "relay_admin_requests_total") || !strings.Contains(body, "go_goroutines") {
		t.Errorf("/metrics lacks our metrics:\n%s", body)
	}
	if status, _ := p.get("http://" + p.internal + "/debug/pprof/"); status != 200 {
		t.Errorf("/debug/pprof/: %d", status)
	}
	if code := p.stop(); code != 0 {
		t.Errorf("exit code %d after SIGTERM:\n%s", code, p.logged())
	}
	if !strings.Contains(p.logged(), "waiting for the database") {
		t.Errorf("the log does not say what was waited for:\n%s", p.logged())
	}
}

// Two admins that both migrate an empty database, and then run their jobs, get along.
func TestTwoAdmins(t *testing.T) {
	s := newShell(t, pgtest.Empty(t))
	a, b := s.serve("--migrate"), s.serve("--migrate")
	a.await(200)
	b.await(200)
	s.ok(nil, "client", "create", "acme", "--credit", "1")
	var key map[string]string
	s.ok(&key, "key", "create", "--client", "acme", "--name", "k")
	for _, p := range []*served{a, b} {
		req, err := http.NewRequest("GET", "http://"+p.addr+"/openapi/v1/balance", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+key["token"])
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != 200 || !strings.Contains(string(body), `"balance":"1"`) {
			t.Errorf("balance: %d %s", resp.StatusCode, body)
		}
		if strings.Contains(p.logged(), key["token"]) {
			t.Error("the log holds the key")
		}
	}
	for _, p := range []*served{a, b} {
		if code := p.stop(); code != 0 {
			t.Errorf("exit code %d", code)
		}
		for _, bad := range []string{`"level":"ERROR"`, "job failed", "panic"} {
			if strings.Contains(p.logged(), bad) {
				t.Errorf("the log has %s:\n%s", bad, p.logged())
			}
		}
	}
}

// A taken port is refused at start, by name.
func TestServePortTaken(t *testing.T) {
	s := newShell(t, pgtest.Empty(t))
	p := s.serve()
	s.env = append(s.env, "RELAY_ADMIN_LISTEN="+p.addr, "RELAY_ADMIN_INTERNAL_LISTEN=127.0.0.1:0")
	s.refused(1, "RELAY_ADMIN_LISTEN", "serve")
	s.env = append(s.env, "RELAY_OPERATOR_TOKEN=short")
	s.refused(2, "RELAY_OPERATOR_TOKEN", "serve")
}

// A newer or a foreign schema ends the process with 1; an older one and a database
// that is away are waited for.
func TestAwaitSchema(t *testing.T) {
	newServer := func() *server {
		r := obs.NewReady()
		return &server{config: &config.Admin{}, log: obs.Discard(), ready: r, schema: r.Condition("schema")}
	}
	for _, state := range []store.SchemaState{store.SchemaNewer, store.SchemaForeign} {
		err := newServer().awaitSchema(t.Context(), func(context.Context) (store.SchemaState, error) { return state, nil }, false)
		var e *exit
		if !errors.As(err, &e) || e.code != 1 {
			t.Errorf("schema %s: %v, want exit 1", state, err)
		}
	}
	steps := []func() (store.SchemaState, error){
		func() (store.SchemaState, error) { return 0, errors.New("connection refused") },
		func() (store.SchemaState, error) { return store.SchemaOlder, nil },
		func() (store.SchemaState, error) { return store.SchemaReady, nil },
	}
	n := 0
	err := newServer().awaitSchema(t.Context(), func(context.Context) (store.SchemaState, error) {
		n++
		return steps[n-1]()
	}, false)
	if err != nil || n != 3 {
		t.Errorf("away, older, ready: %v after %d looks", err, n)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	err = newServer().awaitSchema(ctx, func(context.Context) (store.SchemaState, error) { return store.SchemaMissing, nil }, false)
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a process that is told to stop while waiting: %v", err)
	}
}
