package apptest

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/embedpg"
)

// Options say what to start. The zero value is one proxy, one admin, the mock
// provider, the test catalogue, and a database on the server that the test process
// shares.
type Options struct {
	Proxies         int      // 0: one; negative: none
	Admins          int      // 0: one; negative: none
	OwnPostgres     bool     // a server of its own, which may be killed
	DurablePostgres bool     // with OwnPostgres: it syncs to the disk as production's does, for measuring
	Catalogue       string   // YAML; MOCK and PRICE in it are replaced; "": TestCatalogue; "-": none
	Env             []string // NAME=value for every program
	ProxyEnv        []string // for proxies only
	AdminEnv        []string // for admin only
	Recordings      string   // folder of recorded cases for the mock
	MockDefault     string   // script that every request to the mock starts from
	MockRecords     int      // requests that the mock's meter lists, 0: 200,000
	Unmigrated      bool     // leave the database empty; nothing is waited for or applied
}

// Stack is what Start started.
type Stack struct {
	Mock          *Process
	MockURL       string
	Meter         *mockllm.Client
	Admins        []*Process
	AdminURLs     []string // of the admins' API
	Proxies       []*Proxy
	Postgres      *embedpg.Server // only with OwnPostgres
	DatabaseURL   string
	SecretKey     string
	OperatorToken string
	Dir           string

	t   testing.TB
	bin string
	o   Options
	all []*Process
}

// Proxy is one proxy.
type Proxy struct {
	*Process
	URL         string // public
	InternalURL string
	DataDir     string
}

// Start starts the programs and waits until all are ready.
func Start(t testing.TB, o Options) *Stack {
	t.Helper()
	bin, err := Binaries()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := folder("data")
	if err != nil {
		t.Fatal(err)
	}
	s := &Stack{t: t, bin: bin, o: o, Dir: dir, SecretKey: base64.StdEncoding.EncodeToString(random(32)), OperatorToken: hex.EncodeToString(random(24))}
	if !o.OwnPostgres {
		s.DatabaseURL = pgtest.Empty(t) // dropped after the programs have ended
	}
	t.Cleanup(func() { s.cleanup() })
	if o.OwnPostgres {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
		defer cancel()
		pg, err := embedpg.Start(ctx, embedpg.Options{Dir: filepath.Join(dir, "pg"), Throwaway: !o.DurablePostgres, Install: true})
		if err != nil {
			t.Fatalf("cannot start Postgres: %v", err)
		}
		s.Postgres, s.DatabaseURL = pg, pg.URL("")
	}
	s.startMock()
	if !o.Unmigrated {
		s.MustCLI(nil, "migrate")
	}
	// All programs come up side by side.
	for range count(o.Admins) {
		s.AddAdmin()
	}
	if o.Catalogue != "-" && !o.Unmigrated {
		s.Apply(o.Catalogue)
	}
	for range count(o.Proxies) {
		s.AddProxy()
	}
	if !o.Unmigrated {
		s.WaitReady()
	}
	return s
}

func count(n int) int {
	if n == 0 {
		return 1
	}
	return max(n, 0)
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

// Proxy is the i-th proxy.
func (s *Stack) Proxy(i int) *Proxy { return s.Proxies[i] }

// WaitReady waits until every started program is ready.
func (s *Stack) WaitReady() {
	s.t.Helper()
	for _, p := range s.all {
		if p.Running() {
			p.WaitReady()
		}
	}
}

func (s *Stack) cleanup() {
	for i := len(s.all) - 1; i >= 0; i-- {
		s.all[i].stop()
	}
	if s.Postgres != nil {
		_ = s.Postgres.StopNow()
	}
	if s.t.Failed() {
		for _, p := range s.all {
			s.t.Logf("the log of %s:\n%s", p.Name, p.tail(16<<10))
		}
	}
	if os.Getenv("RELAY_TEST_KEEP") != "" {
		s.t.Logf("kept: %s", s.Dir)
		return
	}
	_ = os.RemoveAll(s.Dir)
}

// environ is what a program finds in its environment: nothing of the tester's own
// settings or keys.
func (s *Stack) environ(more ...string) []string {
	var env []string
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if strings.HasPrefix(name, "RELAY_") || strings.HasSuffix(name, "_API_KEY") || strings.HasPrefix(name, "PG") {
			continue
		}
		env = append(env, kv)
	}
	env = append(env, "RELAY_DATABASE_URL="+s.DatabaseURL, "RELAY_SECRET_KEY="+s.SecretKey)
	return append(append(env, s.o.Env...), more...)
}

func (s *Stack) process(name, program string, args, env []string, ready string) *Process {
	p := &Process{Name: name, t: s.t, path: filepath.Join(s.bin, program), args: args, env: env, dir: s.Dir, logFile: filepath.Join(s.Dir, name+".log"), ready: ready}
	s.all = append(s.all, p)
	p.Start()
	return p
}

func (s *Stack) startMock() {
	addr := freePort(s.t)
	args := []string{"--listen", addr, "--quiet"}
	if s.o.Recordings != "" {
		args = append(args, "--recordings", s.o.Recordings)
	}
	if s.o.MockRecords > 0 {
		args = append(args, "--records", fmt.Sprint(s.o.MockRecords))
	}
	if s.o.MockDefault != "" {
		args = append(args, "--default", s.o.MockDefault)
	}
	s.MockURL = "http://" + addr
	s.Meter = &mockllm.Client{URL: s.MockURL}
	s.Mock = s.process("mockllm", "mockllm", args, s.environ(), s.MockURL+"/healthz")
	s.Mock.WaitReady()
}

// AddAdmin starts one more admin; it does not wait for it.
func (s *Stack) AddAdmin(env ...string) *Process {
	s.t.Helper()
	listen, internal := freePort(s.t), freePort(s.t)
	name := fmt.Sprintf("admin%d", len(s.Admins))
	all := s.environ("RELAY_ADMIN_LISTEN="+listen, "RELAY_ADMIN_INTERNAL_LISTEN="+internal, "RELAY_OPERATOR_TOKEN="+s.OperatorToken,
		"RELAY_DATA_DIR="+filepath.Join(s.Dir, name))
	all = append(append(all, s.o.AdminEnv...), env...)
	s.AdminURLs = append(s.AdminURLs, "http://"+listen)
	p := s.process(name, "admin", []string{"serve"}, all, "http://"+internal+"/readyz")
	s.Admins = append(s.Admins, p)
	return p
}

// AddProxy starts one more proxy; it does not wait for it. Its per-IP limit is off
// and its drain is short, unless the options say otherwise.
func (s *Stack) AddProxy(env ...string) *Proxy {
	s.t.Helper()
	listen, internal := freePort(s.t), freePort(s.t)
	name := fmt.Sprintf("proxy%d", len(s.Proxies))
	p := &Proxy{URL: "http://" + listen, InternalURL: "http://" + internal, DataDir: filepath.Join(s.Dir, name)}
	adminURL := "http://127.0.0.1:9"
	if len(s.AdminURLs) > 0 {
		adminURL = s.AdminURLs[0]
	}
	all := s.environ("RELAY_LISTEN="+listen, "RELAY_INTERNAL_LISTEN="+internal, "RELAY_DATA_DIR="+p.DataDir, "RELAY_PROXY_NAME="+name,
		"RELAY_ADMIN_URL="+adminURL, "RELAY_IP_RPM=0", "RELAY_DRAIN_DELAY=200ms", "RELAY_DRAIN_GRACE=10s")
	all = append(append(all, s.o.ProxyEnv...), env...)
	p.Process = s.process(name, "proxy", nil, all, p.InternalURL+"/readyz")
	s.Proxies = append(s.Proxies, p)
	return p
}

// CLI runs an admin command and gives its output and exit code.
func (s *Stack) CLI(args ...string) (stdout, stderr string, code int) {
	s.t.Helper()
	out, errs, code, err := command(s.Dir, s.environ("RELAY_DATA_DIR="+s.Dir), "", filepath.Join(s.bin, "admin"), args...)
	if err != nil {
		s.t.Fatalf("cannot run admin %s: %v", strings.Join(args, " "), err)
	}
	return string(out), string(errs), code
}

// OperatorEnv is the environment of somebody who operates the stack: its settings, the
// admin program on the path, the address of its first admin.
func (s *Stack) OperatorEnv() []string {
	s.t.Helper()
	env := s.environ("RELAY_OPERATOR_TOKEN="+s.OperatorToken, "PATH="+s.bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	if len(s.AdminURLs) > 0 {
		env = append(env, "RELAY_ADMIN_URL="+s.AdminURLs[0])
	}
	if len(s.Proxies) > 0 {
		env = append(env, "RELAY_DATA_DIR="+s.Proxies[0].DataDir)
	}
	return env
}

// MustCLI runs an admin command with --json, reads its output into dst (nil: not),
// and fails the test if it fails.
func (s *Stack) MustCLI(dst any, args ...string) {
	s.t.Helper()
	out, errs, code := s.CLI(append(args, "--json")...)
	if code != 0 {
		s.t.Fatalf("admin %s: exit %d\n%s%s", strings.Join(args, " "), code, out, errs)
	}
	if dst != nil {
		if err := json.Unmarshal([]byte(out), dst); err != nil {
			s.t.Fatalf("admin %s: cannot read its output: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// Apply applies a catalogue (see Options.Catalogue).
func (s *Stack) Apply(catalogue string) {
	s.t.Helper()
	if catalogue == "" {
		catalogue = TestCatalogue
	}
	file := filepath.Join(s.Dir, "catalogue.yaml")
	if err := os.WriteFile(file, []byte(fill(catalogue, s.MockURL)), 0o600); err != nil {
		s.t.Fatalf("cannot write the catalogue: %v", err)
	}
	s.MustCLI(nil, "apply", file)
}

// Client is a customer.
type Client struct {
	ID   string `json:"id"`
	Name string `json:"name"`
}

// Key is a customer's key.
type Key struct {
	ID    string `json:"id"`
	Token string `json:"token"`
}

// CreateClient makes a customer with a first credit in USD ("0" for none).
func (s *Stack) CreateClient(name, credit string, flags ...string) Client {
	s.t.Helper()
	var c Client
	s.MustCLI(&c, append([]string{"client", "create", name, "--credit", credit}, flags...)...)
	if c.Name == "" {
		c.Name = name
	}
	return c
}

// Credit books money to a customer.
func (s *Stack) Credit(client, usd string) {
	s.t.Helper()
	s.MustCLI(nil, "credit", client, usd)
}

// CreateKey makes a key for a customer, named as the command takes it.
func (s *Stack) CreateKey(client string, flags ...string) Key {
	s.t.Helper()
	var k Key
	s.MustCLI(&k, append([]string{"key", "create", "--client", client, "--name", "test"}, flags...)...)
	if k.Token == "" {
		s.t.Fatal("admin key create printed no token")
	}
	return k
}

// Wallet is a customer's money in USD, as the operator sees it.
type Wallet struct {
	Name     string `json:"name"`
	Balance  string `json:"balance"`
	Reserved string `json:"reserved"`
	Escrowed string `json:"escrowed"`
}

// Wallet reads a customer's money.
func (s *Stack) Wallet(client string) Wallet {
	s.t.Helper()
	var list []Wallet
	s.MustCLI(&list, "client", "list")
	for _, w := range list {
		if w.Name == client {
			return w
		}
	}
	s.t.Fatalf("no client %s", client)
	return Wallet{}
}

// Audit waits until nothing is running or unshipped at any running proxy, runs admin
// audit, and fails the test if the books are broken.
func (s *Stack) Audit() {
	s.t.Helper()
	s.Settled()
	if out, errs, code := s.CLI("audit", "--strict"); code != 0 {
		s.t.Errorf("admin audit: exit %d\n%s%s", code, out, errs)
	}
}

// Settled waits until every running proxy has no request under way and an empty
// journal.
func (s *Stack) Settled() {
	s.t.Helper()
	for _, p := range s.Proxies {
		if !p.Running() {
			continue
		}
		Eventually(s.t, 20*time.Second, p.Name+" has shipped everything", func() bool {
			m := p.Metrics()
			for _, name := range []string{"relay_requests_running", "relay_journal_lag_records", "relay_ship_direct_records"} {
				if v, ok := m[name]; !ok || v != 0 {
					return false
				}
			}
			return true
		})
	}
}

// Eventually waits until ok says true, and fails the test if it does not in time.
func Eventually(t testing.TB, within time.Duration, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(within); ; {
		if ok() {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", within, what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}
