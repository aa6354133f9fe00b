package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"tokenrelay/admin/report"
	"tokenrelay/admin/session"
	"tokenrelay/shared/apikey"
	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/config"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

const catalogue = `
providers:
  - {name: demo, protocol: openai, base_url: "http://127.0.0.1:9/v1", keys: [{name: main, secret: "env:DEMO_SECRET"}]}
  - {name: absent, protocol: openai, base_url: "http://127.0.0.1:9/v1", keys: [{name: main, secret: "env:ABSENT_SECRET"}]}
models:
  - id: alpha
    routes: [{provider: demo, model: up-alpha}, {provider: absent, model: up-alpha}]
    price: {input: "2", output: "10"}
groups:
  - {name: default, models: ["*"]}
`

func writeFile(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// The commands of interface 4 on an empty database, in the order of a first day.
func TestCommandsFromAnEmptyDatabase(t *testing.T) {
	url := pgtest.Empty(t)
	s := newShell(t, url)
	s.env = append(s.env, "DEMO_SECRET=demo-secret-canary")
	file := writeFile(t, "catalogue.yaml", catalogue)

	s.refused(1, "admin migrate", "client", "create", "acme")
	s.refused(2, "could not check", "audit")
	for range 2 {
		s.ok(nil, "migrate")
	}

	var applied applyResult
	_, stderr := s.ok(&applied, "apply", file, "--dry-run")
	if len(applied.Changes) == 0 || !applied.DryRun {
		t.Errorf("dry run: %+v", applied)
	}
	if !strings.Contains(stderr, "ABSENT_SECRET is not set") || len(applied.Skipped) != 1 {
		t.Errorf("a provider key without its variable: %q, %+v", stderr, applied)
	}
	dry := applied.Changes
	s.ok(&applied, "apply", file)
	if len(applied.Changes) != len(dry) || applied.Revision == 0 {
		t.Errorf("the dry run announced %q, apply did %q", dry, applied.Changes)
	}
	if s.ok(&applied, "apply", file); len(applied.Changes) != 0 {
		t.Errorf("applying again changed %q", applied.Changes)
	}
	_, exported, _ := s.run("", "export")
	if parsed, err := catalogfile.Parse([]byte(exported)); err != nil || len(parsed.Models) != 1 || strings.Contains(exported, "canary") {
		t.Errorf("export: %v\n%s", err, exported)
	}
	if code, stdout, stderr := s.run(exported, "apply", "-"); code != 0 || !strings.Contains(stdout, "Nothing to change") {
		t.Errorf("applying the export: exit %d %s %s", code, stdout, stderr)
	}
	if out, _ := s.ok(nil, "export"); strings.Contains(out, "canary") {
		t.Errorf("export --json holds the secret: %s", out)
	}

	var c clientResult
	s.ok(&c, "client", "create", "Acme Ltd", "--credit", "10", "--multiplier", "1.25")
	if c.Name != "Acme Ltd" || c.Balance != 10*money.USD || c.Group != "default" || c.Multiplier != "1.25" {
		t.Errorf("client %+v", c)
	}
	s.refused(1, "exists already", "client", "create", "Acme Ltd")
	s.refused(1, "there is no group", "client", "create", "B", "--group", "nope")
	var booked creditResult
	for range 2 {
		s.ok(&booked, "credit", "Acme Ltd", "2.5", "--note", "bank", "--ref", "tx-1")
	}
	if booked.Balance != 12_500_000_000 {
		t.Errorf("credit twice with one ref: %+v", booked)
	}
	code, _, stderr := s.run("", "credit", "Acme Ltd", "--json", "--", "-0.5")
	if code != 0 {
		t.Errorf("a correction: exit %d %s", code, stderr)
	}
	s.refused(1, `no client "nobody"`, "credit", "nobody", "1")
	s.refused(1, "does not hold that much", "credit", "Acme Ltd", "--", "-13")
	s.refused(1, "must not be 0", "credit", "Acme Ltd", "0")

	var key map[string]string
	stdout, _ := s.ok(&key, "key", "create", "--client", "Acme Ltd", "--name", "first", "--models", "alpha", "--monthly-cap", "5", "--rpm", "60", "--expires", "2099-01-01T00:00:00Z")
	if len(key) != 2 || key["id"] == "" || apikey.Check([]byte(key["token"])) != apikey.Ours {
		t.Errorf("key create --json printed %s, want id and token", stdout)
	}
	s.refused(1, `no model "nope"`, "key", "create", "--client", "Acme Ltd", "--name", "x", "--models", "nope")
	s.refused(1, `no client "nobody"`, "key", "create", "--client", "nobody", "--name", "x")
	var keys []report.APIKey
	stdout, _ = s.ok(&keys, "key", "list", "--client", "Acme Ltd")
	if len(keys) != 1 || keys[0].ID != key["id"] || keys[0].MonthlyCap.String() != "5" || strings.Contains(stdout, key["token"]) {
		t.Errorf("key list: %s", stdout)
	}
	var k report.APIKey
	for _, step := range []struct{ verb, status string }{{"disable", "disabled"}, {"enable", "active"}, {"revoke", "revoked"}} {
		if s.ok(&k, "key", step.verb, key["id"]); k.Status != step.status {
			t.Errorf("key %s: %+v", step.verb, k)
		}
	}
	s.refused(1, "", "key", "enable", key["id"])
	s.refused(1, "", "key", "disable", "nokey")

	var codes []madeVoucher
	if s.ok(&codes, "voucher", "create", "2.5", "--count", "3"); len(codes) != 3 || codes[0].Code == codes[1].Code || codes[2].Amount != money.USD*5/2 {
		t.Errorf("voucher create: %+v", codes)
	}
	s.refused(1, "above 0", "voucher", "create", "0")
	s.refused(2, "not an amount", "voucher", "create", "much")
	var clients []clientResult
	if s.ok(&clients, "client", "list"); len(clients) != 1 || clients[0].Balance != 12*money.USD {
		t.Errorf("client list: %+v", clients)
	}
	var books report.Audit
	if s.ok(&books, "audit", "--strict"); !books.Clean || len(books.Lines) == 0 {
		t.Errorf("audit: %+v", books)
	}
	if code, stdout, _ := s.run("", "audit", "--client", "Acme Ltd"); code != 0 || !strings.Contains(stdout, "The books are right.") {
		t.Errorf("audit of one client: exit %d\n%s", code, stdout)
	}
	s.refused(1, `no proxy "nobody"`, "proxy", "lost", "nobody")
}

func TestUserCreate(t *testing.T) {
	url := pgtest.New(t)
	s := newShell(t, url)
	db, err := store.Open(t.Context(), url, store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	code, stdout, stderr := s.run("a good password\nrest is ignored\n", "user", "create", "Op@Example.com", "--operator", "--json")
	var u userResult
	if code != 0 || json.Unmarshal([]byte(stdout), &u) != nil || u.Email != "op@example.com" || !u.Operator || u.Password != "" {
		t.Fatalf("exit %d %s %s", code, stdout, stderr)
	}
	row, err := db.UserByEmail(t.Context(), "op@example.com")
	if err != nil || !session.CheckPassword(row.PasswordHash, "a good password") || !row.Operator || !row.Active {
		t.Errorf("the stored user: %+v, %v", row, err)
	}
	s.ok(nil, "client", "create", "acme")
	if s.ok(&u, "user", "create", "c@example.com", "--client", "acme"); len(u.Password) != 20 || u.Client != "acme" {
		t.Errorf("a generated password: %+v", u)
	}
	if row, err = db.UserByEmail(t.Context(), "c@example.com"); err != nil || !session.CheckPassword(row.PasswordHash, u.Password) {
		t.Errorf("the generated password does not open the account: %v", err)
	}
	s.refused(1, "exists already", "user", "create", "c@example.com", "--client", "acme")
	s.refused(1, "e-mail address", "user", "create", "nobody", "--operator")
	s.refused(1, "belongs to a client", "user", "create", "d@example.com")
	if code, _, stderr := s.run("short\n", "user", "create", "e@example.com", "--operator"); code != 1 || !strings.Contains(stderr, "at least 10") {
		t.Errorf("a short password: exit %d %s", code, stderr)
	}
}

// interface 3: what make run keeps is read where the environment says nothing.
func TestRunEnvFallback(t *testing.T) {
	url := pgtest.New(t)
	s := newShell(t, url)
	dir := t.TempDir()
	if err := config.WriteRunEnv(dir, map[string]string{"RELAY_DATABASE_URL": url}); err != nil {
		t.Fatal(err)
	}
	s.env = []string{"PATH=" + os.Getenv("PATH"), "RELAY_DATA_DIR=" + dir}
	s.ok(nil, "client", "create", "acme")
	s.refused(2, "RELAY_SECRET_KEY", "apply", writeFile(t, "c.yaml", catalogue))
	s.env = []string{"PATH=" + os.Getenv("PATH"), "RELAY_DATA_DIR=" + dir, "RELAY_DATABASE_URL=postgres://nobody@127.0.0.1:1/none"}
	s.refused(1, "", "client", "create", "other") // the environment wins
}

// A bad catalogue is refused with its line, and the last good one stays.
func TestApplyRefusesABadFile(t *testing.T) {
	s := newShell(t, pgtest.New(t))
	s.env = append(s.env, "DEMO_SECRET=x", "ABSENT_SECRET=y")
	s.ok(nil, "apply", writeFile(t, "good.yaml", catalogue))
	before, _ := s.ok(nil, "export")
	bad := strings.Replace(catalogue, `price: {input: "2"`, `price: {input: "-2"`, 1)
	s.refused(1, "8", "apply", writeFile(t, "bad.yaml", bad))
	s.refused(1, "8", "apply", writeFile(t, "bad.yaml", strings.Replace(catalogue, "price:", "prices:", 1)))
	s.refused(1, "cannot read", "apply", filepath.Join(t.TempDir(), "none.yaml"))
	s.refused(1, "cannot read the secret", "apply", writeFile(t, "bad.yaml", strings.Replace(catalogue, "env:DEMO_SECRET", "file:/does/not/exist", 1)))
	if after, _ := s.ok(nil, "export"); after != before {
		t.Errorf("a refused file changed the catalogue:\n%s\n%s", before, after)
	}
}

func TestAuditVerdict(t *testing.T) {
	for _, tc := range []struct {
		a      report.Audit
		strict bool
		code   int
	}{
		{report.Audit{Clean: true}, false, 0},
		{report.Audit{Clean: true}, true, 0},
		{report.Audit{Clean: false}, false, 1},
		{report.Audit{Clean: true, Rejected: 1}, false, 0},
		{report.Audit{Clean: true, Rejected: 1}, true, 1},
	} {
		err := auditVerdict(&tc.a, tc.strict)
		got := 0
		if e, ok := err.(*exit); ok {
			got = e.code
		}
		if got != tc.code {
			t.Errorf("%+v strict %v: exit %d, want %d", tc.a, tc.strict, got, tc.code)
		}
	}
}
