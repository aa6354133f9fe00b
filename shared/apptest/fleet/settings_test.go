package fleet

import (
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store/storetest"
)

// run runs a program to its end, with nothing in its environment but what is given.
func run(t *testing.T, program string, env []string, args ...string) (output string, code int) {
	t.Helper()
	dir, err := apptest.Binaries()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, filepath.Join(dir, program), args...)
	var b bytes.Buffer
	cmd.Env, cmd.Dir, cmd.Stdout, cmd.Stderr = append([]string{"PATH=/usr/bin:/bin"}, env...), t.TempDir(), &b, &b
	err = cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatalf("%s %v: %v", program, args, err)
	}
	if ctx.Err() != nil {
		t.Fatalf("%s %v has not ended after 15 s:\n%s", program, args, b.String())
	}
	return b.String(), cmd.ProcessState.ExitCode()
}

// Interface 3: a bad setting is fatal at start, with its name and the reason,
// and never with a secret's value.
func TestBadSettingsAreRefusedAtStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	secret := "RELAY_SECRET_KEY=AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
	database := "RELAY_DATABASE_URL=postgres://u:hunter2@127.0.0.1:9/none"
	good := []string{secret, database, "RELAY_LISTEN=127.0.0.1:0", "RELAY_INTERNAL_LISTEN=127.0.0.1:0", "RELAY_ADMIN_LISTEN=127.0.0.1:0", "RELAY_ADMIN_INTERNAL_LISTEN=127.0.0.1:0"}
	for _, f := range []struct {
		program string
		set     string // NAME=value, or a flag
		says    []string
	}{
		{"proxy", "--no-such-flag=1", []string{"--no-such-flag", "unknown"}},
		{"proxy", "RELAY_IP_RPM=many", []string{"RELAY_IP_RPM", "many"}},
		{"proxy", "--ip-rpm=-1", []string{"ip-rpm"}},
		{"proxy", "RELAY_LISTEN=nowhere", []string{"RELAY_LISTEN", "nowhere"}},
		{"proxy", "RELAY_MAX_BODY=32 parsecs", []string{"RELAY_MAX_BODY", "32 parsecs"}},
		{"proxy", "RELAY_IDLE_TIMEOUT=soon", []string{"RELAY_IDLE_TIMEOUT", "soon"}},
		{"proxy", "RELAY_ADMIN_URL=ftp://x", []string{"RELAY_ADMIN_URL"}},
		{"proxy", "RELAY_TRUSTED_PROXIES=10.0.0.0/33", []string{"RELAY_TRUSTED_PROXIES", "10.0.0.0/33"}},
		{"proxy", "RELAY_JOURNAL_SYNC=never", []string{"RELAY_JOURNAL_SYNC", "never"}},
		{"proxy", "RELAY_PUBLIC_OPERATOR=perhaps", []string{"RELAY_PUBLIC_OPERATOR", "perhaps"}},
		{"proxy", "RELAY_SECRET_KEY=c2hvcnQtaHVudGVyMg==", []string{"RELAY_SECRET_KEY", "32 bytes"}},
		{"proxy", "RELAY_SECRET_KEY_FILE=/nonexistent/key", []string{"RELAY_SECRET_KEY_FILE"}},
		{"proxy", "RELAY_INTERNAL_LISTEN=" + taken.Addr().String(), []string{taken.Addr().String(), "in use"}},
		{"proxy", "stray", []string{"stray"}},
		{"admin", "--no-such-flag=1", []string{"--no-such-flag", "unknown"}},
		{"admin", "RELAY_KEY_PREFIX=has space", []string{"RELAY_KEY_PREFIX"}},
		{"admin", "RELAY_OPERATOR_TOKEN=short", []string{"RELAY_OPERATOR_TOKEN"}},
		{"admin", "RELAY_CREDITS_PER_USD=-4", []string{"RELAY_CREDITS_PER_USD"}},
		{"admin", "RELAY_SECRET_KEY=not base64 hunter2", []string{"RELAY_SECRET_KEY"}},
		{"admin", "RELAY_ADMIN_LISTEN=" + taken.Addr().String(), []string{"RELAY_ADMIN_LISTEN", "in use"}},
		{"admin", "RELAY_DATABASE_URL=mysql://hunter2@x/y", []string{"RELAY_DATABASE_URL"}},
		{"proxy", "RELAY_DATABASE_URL=mysql://hunter2@x/y", []string{"RELAY_DATABASE_URL"}},
	} {
		env, args := good, []string{}
		if f.program == "admin" {
			args = append(args, "serve")
		}
		if name, _, ok := strings.Cut(f.set, "="); ok && strings.HasPrefix(name, "RELAY_") {
			env = nil
			for _, kv := range good {
				if n, _, _ := strings.Cut(kv, "="); n != name && n+"_FILE" != name {
					env = append(env, kv)
				}
			}
			env = append(env, f.set)
		} else {
			args = append(args, f.set)
		}
		out, code := run(t, f.program, env, args...)
		if code != 2 && code != 1 {
			t.Errorf("%s %s: exit %d: %s", f.program, f.set, code, out)
		}
		for _, s := range f.says {
			if !strings.Contains(out, s) {
				t.Errorf("%s %s: it does not say %q: %s", f.program, f.set, s, out)
			}
		}
		if strings.Contains(out, "hunter2") || strings.Contains(out, "aHVudGVyMg") {
			t.Errorf("%s %s: it shows a secret: %s", f.program, f.set, out)
		}
		if n := strings.Count(strings.TrimSpace(out), "\n"); n > 2 {
			t.Errorf("%s %s: %d lines: %s", f.program, f.set, n+1, out)
		}
	}
}

// B13, interface 3: with no schema both processes wait and say so; a newer or a
// foreign one ends them, and the commands, with exit code 1, and nothing is changed.
func TestUnknownSchemas(t *testing.T) {
	t.Run("none: they wait until it is there", func(t *testing.T) {
		s := apptest.Start(t, apptest.Options{Unmigrated: true, Catalogue: "-"})
		for _, p := range []*apptest.Process{s.Proxy(0).Process, s.Admins[0]} {
			apptest.Eventually(t, 10*time.Second, p.Name+" says that it waits", func() bool {
				return strings.Contains(p.Log(), "waiting for the schema") || strings.Contains(p.Log(), "admin migrate")
			})
		}
		if r, err := http.Get(s.Proxy(0).InternalURL + "/readyz"); err != nil || r.StatusCode != 503 {
			t.Errorf("ready without a schema: %v %v", r, err)
		} else {
			_ = r.Body.Close()
		}
		if out, errs, code := s.CLI("client", "create", "early"); code != 1 || !strings.Contains(errs, "migrate") {
			t.Errorf("a command without a schema: exit %d %s%s", code, out, errs)
		}
		s.MustCLI(nil, "migrate")
		s.WaitReady()
		s.Apply("")
		s.CreateClient("acme", "1")
		k := s.CreateKey("acme")
		apptest.Eventually(t, 3*time.Second, "the catalogue is there", func() bool { return s.Proxy(0).Do(short(k)).Status == 200 })
	})
	for _, f := range []struct{ name, sql, says string }{
		{"newer", `INSERT INTO schema_migration (version, name, checksum) VALUES (9999, '9999_later.sql', 'x')`, "newer"},
		{"foreign", `UPDATE schema_migration SET checksum = 'of something else' WHERE version = 1`, "something else"},
	} {
		t.Run(f.name, func(t *testing.T) {
			s := apptest.Start(t, apptest.Options{Proxies: -1, Admins: -1, Catalogue: "-"})
			storetest.Exec(t, s.DatabaseURL, f.sql)
			proxy, admin := s.AddProxy(), s.AddAdmin()
			for _, p := range []*apptest.Process{proxy.Process, admin} {
				if code := p.Wait(10 * time.Second); code != 1 {
					t.Errorf("%s: exit %d", p.Name, code)
				}
				if !strings.Contains(p.Log(), f.says) {
					t.Errorf("%s does not say why: %s", p.Name, p.Log())
				}
				t.Logf("%s: %s", p.Name, lastLine(p.Log()))
			}
			for _, args := range [][]string{{"migrate"}, {"client", "create", "x"}, {"key", "list", "--client", "x"}, {"audit"}} {
				out, errs, code := s.CLI(args...)
				want := 1
				if args[0] == "audit" {
					want = 2 // could not be checked
				}
				if code != want || !strings.Contains(errs, f.says) {
					t.Errorf("admin %v: exit %d %s%s", args, code, out, errs)
				}
			}
			if n := storetest.Value[int64](t, s.DatabaseURL, `SELECT count(*) FROM proxy_slot`); n != 0 {
				t.Error("a slot was claimed in it")
			}
		})
	}
	t.Run("of another program", func(t *testing.T) {
		s := apptest.Start(t, apptest.Options{Proxies: -1, Admins: -1, Catalogue: "-", Unmigrated: true})
		storetest.Exec(t, s.DatabaseURL, `CREATE TABLE blog_post (id int)`)
		proxy, admin := s.AddProxy(), s.AddAdmin("RELAY_LOG_FORMAT=text")
		for _, p := range []*apptest.Process{proxy.Process, admin} {
			if code := p.Wait(10 * time.Second); code != 1 {
				t.Errorf("%s: exit %d %s", p.Name, code, p.Log())
			}
		}
		if _, errs, code := s.CLI("migrate"); code != 1 {
			t.Errorf("migrate: exit %d %s", code, errs)
		}
		if n := storetest.Value[int64](t, s.DatabaseURL, `SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'`); n != 1 {
			t.Errorf("%d tables in somebody else's database", n)
		}
	})
}

func lastLine(s string) string {
	s = strings.TrimSpace(s)
	return s[strings.LastIndexByte(s, '\n')+1:]
}

// Interface 3: a bad catalogue file is refused with its line and the reason, and nothing
// of it is kept; where bad rows get into the database by another way, the proxies serve
// the last good catalogue on, keys and money still move, and a metric says so.
func TestBadCataloguesLeaveTheLastGoodOne(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 2})
	s.CreateClient("acme", "10")
	k := s.CreateKey("acme")
	warm(t, s, k)
	catalogue := func() string {
		out, errs, code := s.CLI("export")
		if code != 0 {
			t.Fatal(errs)
		}
		return out
	}
	before := catalogue()
	good := "providers:\n  - {name: openai, protocol: openai, base_url: " + s.MockURL + "/openai/v1, keys: [{name: main, secret: sk-1}]}\n"
	for _, f := range []struct {
		name, file string
		says       []string
	}{
		{"no YAML", "providers: [\n", []string{"bad.yaml"}},
		{"an unknown field", good + "models:\n  - id: m\n    routes: [{provider: openai, model: x}]\n    prize: {input: \"1\", output: \"1\"}\n", []string{"bad.yaml", "line 6", "prize"}},
		{"a price that is no number", good + "models:\n  - id: m\n    routes: [{provider: openai, model: x}]\n    price: {input: dear, output: \"1\"}\n", []string{"line 6"}},
		{"a price of zero", good + "models:\n  - id: m\n    routes: [{provider: openai, model: x}]\n    price: {input: \"0\", output: \"1\"}\n", []string{"line 6", "free"}},
		{"a negative price", good + "models:\n  - id: m\n    routes: [{provider: openai, model: x}]\n    price: {input: \"-2\", output: \"1\"}\n", []string{"line 6"}},
		{"an unknown provider", good + "models:\n  - id: m\n    routes: [{provider: nobody, model: x}]\n    price: {input: \"1\", output: \"1\"}\n", []string{"line 5", "nobody"}},
		{"a name with capitals", good + "models:\n  - id: GPT\n    routes: [{provider: openai, model: x}]\n    price: {input: \"1\", output: \"1\"}\n", []string{"line 4", "GPT"}},
		{"a name twice", good + "models:\n  - {id: m, routes: [{provider: openai, model: x}], price: {input: \"1\", output: \"1\"}}\n  - {id: n, aliases: [m], routes: [{provider: openai, model: x}], price: {input: \"1\", output: \"1\"}}\n", []string{"line 5"}},
		{"a reserved slug", "providers:\n  - {name: chat, protocol: openai, base_url: http://x/v1}\n", []string{"line 2", "chat"}},
	} {
		file := filepath.Join(s.Dir, "bad.yaml")
		if err := os.WriteFile(file, []byte(f.file), 0o600); err != nil {
			t.Fatal(err)
		}
		out, errs, code := s.CLI("apply", file)
		if code != 1 {
			t.Errorf("%s: exit %d %s%s", f.name, code, out, errs)
		}
		for _, w := range f.says {
			if !strings.Contains(errs, w) {
				t.Errorf("%s: it does not say %q: %s", f.name, w, errs)
			}
		}
	}
	if after := catalogue(); after != before {
		t.Error("a refused file has changed the catalogue")
	}

	// The same name for two models: no catalogue can be built of that.
	storetest.Exec(t, s.DatabaseURL, `INSERT INTO model_alias (alias, model_id) SELECT 'mock-claude', id FROM model WHERE public_id = 'mock-chat'`)
	announce := func() int64 {
		storetest.Exec(t, s.DatabaseURL, `WITH r AS (UPDATE config_rev SET rev = rev + 1 RETURNING rev) INSERT INTO config_log (rev, kind) SELECT rev, 'catalog' FROM r`)
		rev := storetest.Value[int64](t, s.DatabaseURL, `SELECT rev FROM config_rev`)
		storetest.Exec(t, s.DatabaseURL, `SELECT pg_notify('relay_config', $1)`, "x")
		return rev
	}
	snapshots := make([]float64, 2)
	for i, p := range s.Proxies {
		snapshots[i] = p.Metric("relay_feed_snapshot_revision")
	}
	rev := announce()
	for i, p := range s.Proxies {
		apptest.Eventually(t, 3*time.Second, p.Name+" has met the bad catalogue", func() bool {
			return p.Metric(`relay_feed_errors_total{what="build"}`) > 0
		})
		m := p.Metrics()
		if m["relay_feed_snapshot_revision"] != snapshots[i] || m["relay_feed_applied_revision"] >= float64(rev) {
			t.Errorf("%s: snapshot %v, applied %v of %d", p.Name, m["relay_feed_snapshot_revision"], m["relay_feed_applied_revision"], rev)
		}
		if !strings.Contains(p.Log(), "the last good one serves on") {
			t.Errorf("%s does not say so", p.Name)
		}
		for _, r := range []apptest.Request{short(k), apptest.Messages(k.Token, "mock-claude", "hello mock:out=3")} {
			if r := p.Do(r); r.Status != 200 {
				t.Errorf("%s: %d %s", p.Name, r.Status, r.Body)
			}
		}
	}
	// What is not the catalogue still arrives.
	extra := s.CreateKey("acme")
	spread(t, "a key made meanwhile", untilAll(t, s, time.Now(), "a key made meanwhile", short(extra), accepted))
	spread(t, "a key disabled meanwhile", untilAll(t, s, disable(t, s, extra), "a key disabled meanwhile", short(extra), refused))

	storetest.Exec(t, s.DatabaseURL, `DELETE FROM model_alias WHERE alias = 'mock-claude'`)
	rev = announce()
	for _, p := range s.Proxies {
		apptest.Eventually(t, 3*time.Second, p.Name+" has the mended catalogue", func() bool {
			return p.Metric("relay_feed_applied_revision") >= float64(rev) && p.Metric("relay_feed_snapshot_revision") >= float64(rev)
		})
	}

	// A row that cannot be used is left out, alone, and counted.
	storetest.Exec(t, s.DatabaseURL, `UPDATE provider_key SET sealed = decode(repeat('00', 60), 'hex') WHERE provider_id = (SELECT id FROM provider WHERE slug = 'anthropic')`)
	rev = announce()
	for _, p := range s.Proxies {
		apptest.Eventually(t, 3*time.Second, p.Name+" tells of one problem", func() bool {
			return p.Metric("relay_feed_applied_revision") >= float64(rev) && p.Metric("relay_feed_snapshot_problems") == 1
		})
		if r := p.Do(short(k)); r.Status != 200 {
			t.Errorf("%d %s", r.Status, r.Body)
		}
		r := p.Do(apptest.Messages(k.Token, "mock-claude", "hello"))
		if r.Status != 503 || r.Code() != "no_provider_keys" || !strings.Contains(string(r.Body), "No active API keys") {
			t.Errorf("%d %s", r.Status, r.Body)
		}
	}
	s.Audit()
}
