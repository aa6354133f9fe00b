package config

import (
	"encoding/base64"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/money"
)

func env(pairs ...string) Lookup {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return func(name string) (string, bool) { v, ok := m[name]; return v, ok }
}

var key32 = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))

// S0-16, S4-1.
// interface 3: the defaults of the page.
func TestProxyDefaults(t *testing.T) {
	p, err := LoadProxy(nil, env("RELAY_DATABASE_URL", "postgres://x/y", "RELAY_SECRET_KEY", key32))
	if err != nil {
		t.Fatal(err)
	}
	want := &Proxy{
		Common: Common{
			DatabaseURL: "postgres://x/y", SecretKey: []byte("0123456789abcdef0123456789abcdef"), DataDir: ".data",
			LogLevel: "info", LogFormat: "json",
		},
		Listen: "127.0.0.1:8000", InternalListen: "127.0.0.1:8002", InternalURL: "http://127.0.0.1:8002", AdminURL: "http://127.0.0.1:8001",
		IPRPM: 300, MaxBody: 32 << 20, CacheMemory: 64 << 20, MaxHeader: 8 << 10, BodyMemory: 1 << 30,
		FirstByteTimeout: 600 * time.Second, StreamStartTimeout: 120 * time.Second, IdleTimeout: 300 * time.Second,
		MaxRequest: 15 * time.Minute, WriteStall: 30 * time.Second, MaxAttempts: 3, DrainDelay: 5 * time.Second,
		DrainGrace: 5 * time.Minute, PublicOperator: true, JournalSync: "group",
	}
	if !reflect.DeepEqual(p, want) {
		t.Errorf("got  %+v\nwant %+v", p, want)
	}
}

func TestProxyFlagsWin(t *testing.T) {
	p, err := LoadProxy(
		[]string{"--ip-rpm", "0", "--max-body=1MiB", "-listen", ":9", "--public-operator=off", "--trusted-proxies", "10.0.0.0/8, ::1"},
		env("RELAY_DATABASE_URL", "u", "RELAY_SECRET_KEY", key32, "RELAY_IP_RPM", "7", "RELAY_MAX_REQUEST", "60s", "RELAY_MAX_ATTEMPTS", ""))
	if err != nil {
		t.Fatal(err)
	}
	if p.IPRPM != 0 || p.MaxBody != 1<<20 || p.Listen != ":9" || p.PublicOperator || p.MaxAttempts != 3 {
		t.Errorf("got %+v", p)
	}
	if p.FirstByteTimeout != time.Minute {
		t.Errorf("a wait is longer than the request: %v", p.FirstByteTimeout)
	}
	if want := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("::1/128")}; !reflect.DeepEqual(p.TrustedProxies, want) {
		t.Errorf("trusted: %v", p.TrustedProxies)
	}
}

// interface 3: an unknown flag or an invalid value is fatal, with the name and the
// reason.
func TestProxyFailure(t *testing.T) {
	f := func(args string, e Lookup, want ...string) {
		t.Helper()
		_, err := LoadProxy(strings.Fields(args), e)
		if err == nil {
			t.Errorf("%s: accepted", args)
			return
		}
		for _, w := range want {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%s: %q does not say %q", args, err, w)
			}
		}
	}
	good := env("RELAY_DATABASE_URL", "u", "RELAY_SECRET_KEY", key32)
	f("", env(), "RELAY_DATABASE_URL", "required", "RELAY_DATABASE_URL_FILE")
	f("", env("RELAY_DATABASE_URL", "u"), "RELAY_SECRET_KEY", "required")
	f("--ip-rmp 3", good, "unknown flag --ip-rmp", "did you mean --ip-rpm?")
	f("--frobnicate=1", good, "unknown flag --frobnicate", "--help")
	f("--credits-per-usd 1", good, "unknown flag")
	f("--ip-rpm", good, "needs a value")
	f("--ip-rpm 1 --ip-rpm 2", good, "twice")
	f("--ip-rpm -1", good, "RELAY_IP_RPM", `"-1"`, "between 0")
	f("--ip-rpm 3.5", good, "RELAY_IP_RPM", "whole number")
	f("--max-attempts 0", good, "RELAY_MAX_ATTEMPTS", "between 1 and 8")
	f("--max-body 32", good, "RELAY_MAX_BODY", "between 1KiB")
	f("--max-body 32M", good, "RELAY_MAX_BODY", "size like")
	f("--idle-timeout 300", good, "RELAY_IDLE_TIMEOUT", "unit")
	f("--idle-timeout -3s", good, "RELAY_IDLE_TIMEOUT", "between")
	f("--listen 8000", good, "RELAY_LISTEN", "host:port")
	f("--listen :65536", good, "RELAY_LISTEN", "65535")
	f("--admin-url 127.0.0.1:8001", good, "RELAY_ADMIN_URL", "address")
	f("--public-operator=maybe", good, "RELAY_PUBLIC_OPERATOR", "on or off")
	f("--log-level loud", good, "RELAY_LOG_LEVEL", "debug, info")
	f("--trusted-proxies 10.0.0.1/8", good, "RELAY_TRUSTED_PROXIES", "10.0.0.0/8 is meant")
	f("serve", good, `"serve"`)
	f("--max-body 1", env("RELAY_MAX_BODY", "2"), "RELAY_DATABASE_URL")
	f("", env("RELAY_DATABASE_URL", "u", "RELAY_SECRET_KEY", key32, "RELAY_IDLE_TIMEOUT", "x"), "RELAY_IDLE_TIMEOUT", `"x"`)
}

// A secret never stands in an error text, wherever it came from.
func TestSecretsAreNotShown(t *testing.T) {
	for _, args := range [][]string{{"--secret-key", "hunter2"}, nil} {
		_, err := LoadProxy(args, env("RELAY_DATABASE_URL", "u", "RELAY_SECRET_KEY", "hunter2"))
		if err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "RELAY_SECRET_KEY") {
			t.Errorf("got %v", err)
		}
	}
}

func TestSecretFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(key32+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p, err := LoadProxy(nil, env("RELAY_DATABASE_URL", "u", "RELAY_SECRET_KEY_FILE", path))
	if err != nil || len(p.SecretKey) != 32 {
		t.Fatalf("%v %v", p, err)
	}
	if _, err := LoadProxy(nil, env("RELAY_DATABASE_URL", "u", "RELAY_SECRET_KEY", key32, "RELAY_SECRET_KEY_FILE", path)); err == nil || !strings.Contains(err.Error(), "both") {
		t.Errorf("both are accepted: %v", err)
	}
	if _, err := LoadProxy(nil, env("RELAY_DATABASE_URL", "u", "RELAY_SECRET_KEY_FILE", path+"x")); err == nil || !strings.Contains(err.Error(), "RELAY_SECRET_KEY_FILE") {
		t.Errorf("a missing file is accepted: %v", err)
	}
	// Only secrets have files.
	p, err = LoadProxy(nil, env("RELAY_DATABASE_URL", "u", "RELAY_SECRET_KEY", key32, "RELAY_LISTEN_FILE", path))
	if err != nil || p.Listen != "127.0.0.1:8000" {
		t.Errorf("%v %v", p, err)
	}
}

// Operator commands read run.env where a setting is absent (interface 3).
func TestRunEnv(t *testing.T) {
	dir := t.TempDir()
	values := map[string]string{
		"RELAY_DATABASE_URL": `postgres://u@/db?host=/a b`, "RELAY_SECRET_KEY": key32, RunDemoKey: "tsk_x",
		"RELAY_BRAND": "kept",
	}
	if err := WriteRunEnv(dir, values); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(RunEnvPath(dir)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v %v", info.Mode(), err)
	}
	if got, err := ReadRunEnv(dir); err != nil || !reflect.DeepEqual(got, values) {
		t.Errorf("got %v %v", got, err)
	}
	var a Admin
	s := AdminSet("test", &a)
	s.RunEnv = true
	if _, err := s.Parse([]string{"--data-dir", dir}, env("RELAY_BRAND", "given")); err != nil {
		t.Fatal(err)
	}
	if a.DatabaseURL != values["RELAY_DATABASE_URL"] || len(a.SecretKey) != 32 || a.Brand != "given" {
		t.Errorf("got %+v", a)
	}
	a = Admin{}
	if _, err := AdminSet("test", &a).Parse([]string{"--data-dir", dir}, env()); err == nil {
		t.Error("a server reads run.env")
	}
	// Without the file the setting is absent, as before.
	s = AdminSet("test", &a)
	s.RunEnv = true
	if _, err := s.Parse([]string{"--data-dir", filepath.Join(dir, "none")}, env()); err == nil || !strings.Contains(err.Error(), "RELAY_DATABASE_URL") {
		t.Errorf("got %v", err)
	}
	if err := os.WriteFile(RunEnvPath(dir), []byte("RELAY_BRAND\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRunEnv(dir); err == nil || !strings.Contains(err.Error(), "line 1") {
		t.Errorf("got %v", err)
	}
}

// A command adds its own flags, which are no settings.
func TestCommandFlags(t *testing.T) {
	var a Admin
	var client, note string
	var jsonOut bool
	var limit money.Amount
	var rpm int64
	var expires time.Time
	s := AdminSet("admin key create", &a)
	s.String(&client, "client", "", "the client").Required()
	s.String(&note, "note", "", "why")
	s.Bool(&jsonOut, "json", "off", "print JSON")
	s.USD(&limit, "monthly-cap", "-1", "USD")
	s.Int(&rpm, "rpm", "0", "requests a minute", 0, 1e6)
	s.Time(&expires, "expires", "", "end")
	e := env("RELAY_DATABASE_URL", "u", "RELAY_SECRET_KEY", key32, "client", "wrong")
	rest, err := s.Parse([]string{"x", "--json", "--client", "demo", "--monthly-cap", "10.5", "--expires", "2027-01-02T03:04:05Z", "y", "-5.50", "--", "--z"}, e)
	if err != nil {
		t.Fatal(err)
	}
	if !jsonOut || client != "demo" || limit != 10_500_000_000 || rpm != 0 || expires.Year() != 2027 || !reflect.DeepEqual(rest, []string{"x", "y", "-5.50", "--z"}) {
		t.Errorf("got %v %q %v %v %v %v", jsonOut, client, limit, rpm, expires, rest)
	}
	if !s.Given("client") || s.Given("note") || !s.Given("RELAY_DATABASE_URL") {
		t.Error("Given is wrong")
	}
	for _, args := range []string{"--json", "--client a --monthly-cap 1e3", "--client a --expires now", "--client a --json=x"} {
		s := AdminSet("admin key create", &a)
		s.String(&client, "client", "", "the client").Required()
		s.Bool(&jsonOut, "json", "off", "print JSON")
		s.USD(&limit, "monthly-cap", "-1", "USD")
		s.Time(&expires, "expires", "", "end")
		if _, err := s.Parse(strings.Fields(args), e); err == nil || !strings.Contains(err.Error(), "--") {
			t.Errorf("%s: got %v", args, err)
		}
	}
}

func TestHelp(t *testing.T) {
	_, err := LoadProxy([]string{"--help"}, env())
	var help *HelpError
	if !errors.As(err, &help) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{"--ip-rpm <number>  (RELAY_IP_RPM)", "(default 300)", "(required)", "--public-operator"} {
		if !strings.Contains(help.Text, want) {
			t.Errorf("help lacks %q:\n%s", want, help.Text)
		}
	}
}

func TestUnknownEnv(t *testing.T) {
	got := UnknownEnv([]string{"RELAY_IP_RPM=1", "RELAY_IPRPM=1", "RELAY_SECRET_KEY_FILE=x", "RELAY_LISTEN_FILE=x", "PATH=/", "RELAY_DEMO_KEY=x", "RELAY_BRAND=b"})
	if want := []string{"RELAY_IPRPM", "RELAY_LISTEN_FILE"}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

func TestParseSize(t *testing.T) {
	f := func(text string, want int64) {
		t.Helper()
		if got, err := ParseSize(text); got != want || (err == nil) != (want >= 0) {
			if want < 0 && err != nil {
				return
			}
			t.Errorf("%q: %d %v, want %d", text, got, err, want)
		}
	}
	f("0", 0)
	f("4096", 4096)
	f("8KiB", 8192)
	f("32MiB", 32<<20)
	f("500kB", 500_000)
	f("1TiB", 1<<40)
	f("", -1)
	f("MiB", -1)
	f("-1MiB", -1)
	f("1.5MiB", -1)
	f("1 MiB", -1)
	f("1mib", -1)
	f("9223372036854775807KiB", -1)
	f("99999999999999999999", -1)
	for _, n := range []int64{0, 1, 1023, 1024, 32 << 20, 1<<20 + 1, 1 << 40} {
		if got, err := ParseSize(FormatSize(n)); got != n || err != nil {
			t.Errorf("%d is written %s and read %d %v", n, FormatSize(n), got, err)
		}
	}
}

// docs/config.md is what the declarations say; make gen writes it.
func TestPageIsUpToDate(t *testing.T) {
	page, err := os.ReadFile("../../docs/config.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(page) != Markdown() {
		t.Error("docs/config.md is stale: run make gen")
	}
}
