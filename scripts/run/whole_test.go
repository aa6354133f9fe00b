//go:build linux

package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/config"
	"tokenrelay/shared/money"
)

// whole is a folder of built binaries with its data, settings and ports.
type whole struct {
	t    *testing.T
	dir  string // holds bin/ and data/
	env  []string
	port [4]string
}

// newWhole builds the binaries. Every file of the module is looked at first, so that
// the cached result of this test dies with any change.
func newWhole(t *testing.T) *whole {
	t.Helper()
	err := filepath.WalkDir("../..", func(p string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() && p != "../.." && strings.HasPrefix(d.Name(), ".") {
			return filepath.SkipDir
		}
		if err == nil && !d.IsDir() {
			_, err = os.Stat(p)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	w := &whole{t: t, dir: t.TempDir()}
	build := exec.Command("go", "build", "-o", filepath.Join(w.dir, "bin")+"/", "./proxy", "./admin", "./loadtest/mockllm", "./scripts/run")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for i := range w.port {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = ln.Close() }()
		w.port[i] = ln.Addr().String()
	}
	for _, kv := range os.Environ() {
		name, _, _ := strings.Cut(kv, "=")
		if _, ok := providerOf[name]; !ok && !strings.HasPrefix(name, "RELAY_") && name != "MAKELEVEL" {
			w.env = append(w.env, kv)
		}
	}
	w.env = append(w.env, "RELAY_DATA_DIR="+filepath.Join(w.dir, "data"),
		"RELAY_LISTEN="+w.port[0], "RELAY_INTERNAL_LISTEN="+w.port[1], "RELAY_ADMIN_LISTEN="+w.port[2], "RELAY_ADMIN_INTERNAL_LISTEN="+w.port[3])
	return w
}

// started is a running launcher with what it printed.
type started struct {
	cmd    *exec.Cmd
	banner string
	curl   string
	key    string
	took   time.Duration
	errs   *bytes.Buffer
}

func (w *whole) start() *started {
	w.t.Helper()
	began := time.Now()
	s := &started{cmd: exec.Command("bin/run"), errs: new(bytes.Buffer)}
	s.cmd.Dir, s.cmd.Env = w.dir, w.env
	out, err := s.cmd.StdoutPipe()
	if err != nil {
		w.t.Fatal(err)
	}
	s.cmd.Stderr = s.errs
	if err := s.cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = s.cmd.Process.Kill() // if the test broke off before
		if w.t.Failed() {
			for _, log := range []string{"admin", "proxy", "mockllm"} {
				w.t.Logf("%s:\n%s", log, tail(filepath.Join(w.dir, "data", "log", log+".log")))
			}
		}
	})
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		s.banner += lines.Text() + "\n"
		if strings.HasPrefix(lines.Text(), "curl ") {
			s.curl = lines.Text()
		}
		if strings.HasPrefix(lines.Text(), "Ctrl-C") {
			break
		}
	}
	s.took = time.Since(began)
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if m := regexp.MustCompile(`Bearer (\S+)"`).FindStringSubmatch(s.curl); m != nil {
		s.key = m[1]
	}
	if s.key == "" {
		_ = s.cmd.Wait()
		w.t.Fatalf("no banner with a curl line and a key:\n%s\n%s", s.banner, s.errs)
	}
	return s
}

// get reads a customer API path and returns the envelope's data.
func (w *whole) get(key, path string) map[string]any {
	w.t.Helper()
	req, err := http.NewRequest(http.MethodGet, "http://"+w.port[0]+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	var envelope struct {
		Success bool           `json:"success"`
		Data    map[string]any `json:"data"`
	}
	body, _ := io.ReadAll(res.Body)
	if err := json.Unmarshal(body, &envelope); err != nil || !envelope.Success {
		w.t.Fatalf("%s: %d %s", path, res.StatusCode, body)
	}
	return envelope.Data
}

// left lists the processes that belong to the folder: their program, an argument or
// their working folder lies in it.
func (w *whole) left() []string {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		w.t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		if e.Name()[0] < '0' || e.Name()[0] > '9' {
			continue
		}
		command, _ := os.ReadFile(filepath.Join("/proc", e.Name(), "cmdline"))
		program, _ := os.Readlink(filepath.Join("/proc", e.Name(), "exe"))
		folder, _ := os.Readlink(filepath.Join("/proc", e.Name(), "cwd"))
		if strings.Contains(string(command)+program+folder, w.dir) {
			list = append(list, e.Name()+" "+strings.ReplaceAll(string(command), "\x00", " "))
		}
	}
	return list
}

// pid is the process that runs the folder's bin/name.
func (w *whole) pid(name string) int {
	w.t.Helper()
	links, err := filepath.Glob("/proc/[0-9]*/exe")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, link := range links {
		if program, _ := os.Readlink(link); program == filepath.Join(w.dir, "bin", name) {
			pid, err := strconv.Atoi(filepath.Base(filepath.Dir(link)))
			if err == nil {
				return pid
			}
		}
	}
	w.t.Fatalf("no %s is running", name)
	return 0
}

func (w *whole) noneLeft(what string) {
	w.t.Helper()
	deadline := time.Now().Add(15 * time.Second)
	for {
		left := w.left()
		if len(left) == 0 {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("%s leaves processes behind:\n%s", what, strings.Join(left, "\n"))
		}
		time.Sleep(50 * time.Millisecond)
	}
}

func amountOf(t *testing.T, v any) money.Amount {
	t.Helper()
	text := fmt.Sprint(v)
	a, err := money.ParseUSD(text)
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// The README's first command, as a stranger meets it (interface 1): the pasted curl
// answers, its charge is on record within a second and is what the balance moved by;
// Ctrl-C and kill -9 leave nothing behind; a second start is quick and keeps all.
func TestMakeRun(t *testing.T) {
	w := newWhole(t)
	first := w.start()
	t.Logf("first start %v", first.took)

	before := amountOf(t, w.get(first.key, "/openapi/v1/balance")["balance"])
	if before != 10*money.USD {
		t.Errorf("the demo client has %s USD, want 10", before)
	}
	out, err := exec.Command("bash", "-c", strings.Replace(first.curl, "curl ", "curl -sS ", 1)).CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte(`"choices"`)) || !bytes.Contains(out, []byte(`"gpt-5-mini"`)) {
		t.Fatalf("%s\n%v: %s", first.curl, err, out)
	}
	answered := time.Now()
	var items []any
	for len(items) == 0 && time.Since(answered) < time.Second {
		items, _ = w.get(first.key, "/openapi/v1/billing/detail")["items"].([]any)
	}
	if len(items) != 1 {
		t.Fatalf("%d rows in billing/detail after a second, want 1", len(items))
	}
	charge := amountOf(t, items[0].(map[string]any)["charge"])
	after := amountOf(t, w.get(first.key, "/openapi/v1/balance")["balance"])
	if charge <= 0 || before-after != charge {
		t.Errorf("charge %s, balance moved by %s", charge, before-after)
	}

	// A second launcher on the same folder does not disturb the first.
	second := exec.Command("bin/run")
	second.Dir, second.Env = w.dir, w.env
	if out, err := second.CombinedOutput(); err == nil || !bytes.Contains(out, []byte("another make run")) {
		t.Errorf("a second launcher: %v %s", err, out)
	}

	if err := first.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := first.cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v\n%s", err, first.errs)
	}
	w.noneLeft("Ctrl-C")

	again := w.start()
	t.Logf("second start %v", again.took)
	if again.took > 5*time.Second {
		t.Errorf("the second start took %v, want under 5 s", again.took)
	}
	if again.key != first.key {
		t.Error("the second start has another key")
	}
	if now := amountOf(t, w.get(again.key, "/openapi/v1/balance")["balance"]); now != after {
		t.Errorf("balance %s after the restart, want %s", now, after)
	}
	if err := again.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = again.cmd.Wait() // killed
	w.noneLeft("kill -9 of the launcher")

	// A child that dies takes the rest down, and says so.
	third := w.start()
	if third.key != first.key {
		t.Error("the third start has another key")
	}
	if err := syscall.Kill(w.pid("proxy"), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := third.cmd.Wait(); err == nil || !strings.Contains(third.errs.String(), "proxy ended by itself") {
		t.Errorf("the proxy's death: %v\n%s", err, third.errs)
	}
	w.noneLeft("the proxy's death")
}

// stop is Ctrl-C.
func (s *started) stop(t *testing.T) {
	t.Helper()
	if err := s.cmd.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("Ctrl-C: %v\n%s", err, s.errs)
	}
}

// admin runs an operator command, which finds its settings in run.env (interface 3).
func (w *whole) admin(args ...string) string {
	w.t.Helper()
	cmd := exec.Command("bin/admin", args...)
	cmd.Dir, cmd.Env = w.dir, w.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		w.t.Fatalf("admin %v: %v: %s", args, err, out)
	}
	return string(out)
}

// price returns the line of the exported catalogue that says what a model costs.
func (w *whole) price(id string) string {
	w.t.Helper()
	_, rest, found := strings.Cut(w.admin("export"), "id: "+id+"\n")
	if !found {
		w.t.Fatalf("no model %s in the export", id)
	}
	_, rest, _ = strings.Cut(rest, "price: ")
	line, _, _ := strings.Cut(rest, "\n")
	return line
}

// forget makes the launcher believe that the shipped catalogue has changed since.
func (w *whole) forget(name string) {
	w.t.Helper()
	kept, err := config.ReadRunEnv(filepath.Join(w.dir, "data"))
	if err != nil {
		w.t.Fatal(err)
	}
	kept[name] = "another"
	if err := config.WriteRunEnv(filepath.Join(w.dir, "data"), kept); err != nil {
		w.t.Fatal(err)
	}
}

// Decision 0011: providers follow the environment, the operator's models and prices
// are kept, a changed shipped catalogue is taken only where nobody edited.
func TestMakeRunCatalogue(t *testing.T) {
	w := newWhole(t)
	w.start().stop(t)

	// Nobody edited, the shipped file changed: it is applied. It is the same file here,
	// so what tells is that nothing is said.
	w.forget(config.RunShipped)
	s := w.start()
	if strings.Contains(s.errs.String(), "shipped catalogue") {
		t.Errorf("an unedited catalogue is not updated: %s", s.errs)
	}

	// The operator edits a price, in a file with nothing else.
	shipped := w.price("gpt-5-mini")
	edit := filepath.Join(w.dir, "edit.yaml")
	m := catalogfile.Default()
	i := slices.IndexFunc(m.Models, func(m catalogfile.Model) bool { return m.ID == "gpt-5-mini" })
	only := m.Models[i]
	only.Price = catalogfile.Prices{"input": "9", "output": "99"}
	if err := os.WriteFile(edit, catalogfile.Marshal(&catalogfile.File{Providers: []catalogfile.Provider{{
		Name: "openai", Protocol: "openai", Dialect: "openai", BaseURL: "https://api.openai.com/v1", Keys: []catalogfile.ProviderKey{{Name: "main"}},
	}}, Models: []catalogfile.Model{only}}), 0o600); err != nil {
		t.Fatal(err)
	}
	w.admin("apply", edit)
	if got := w.price("gpt-5-mini"); !strings.Contains(got, `output: "99"`) || got == shipped {
		t.Fatalf("the edit did not take: %s", got)
	}
	s.stop(t)

	// A provider's key appears, and the shipped file changes: the provider is applied,
	// the price is kept, a line says where the shipped file is.
	w.forget(config.RunShipped)
	w.env = append(w.env, "GROQ_API_KEY=gsk-none")
	s = w.start()
	if !strings.Contains(s.errs.String(), "shipped catalogue has changed") {
		t.Errorf("nothing is said about the shipped catalogue: %s", s.errs)
	}
	if got := w.price("gpt-5-mini"); !strings.Contains(got, `output: "99"`) {
		t.Errorf("the operator's price is gone: %s", got)
	}
	export := w.admin("export")
	if strings.Contains(export, "http://127.0.0.1") || !strings.Contains(export, "https://api.groq.com") {
		t.Error("providers still point to the mock")
	}
	if strings.Contains(export, "gsk-none") {
		t.Error("the export shows a secret")
	}
	if !strings.Contains(s.curl, "llama-3.1-8b-instant") {
		t.Errorf("the curl line is not for the provider that has a key: %s", s.curl)
	}
	// interface 3: the others answer 503 no_provider_keys.
	req, err := http.NewRequest(http.MethodPost, "http://"+w.port[0]+"/v1/chat/completions", strings.NewReader(`{"model":"gpt-5-mini","messages":[{"role":"user","content":"hi"}]}`))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+s.key)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	_ = res.Body.Close()
	if res.StatusCode != http.StatusServiceUnavailable || res.Header.Get("x-relay-error") != "no_provider_keys" {
		t.Errorf("a provider without a key: %d %s", res.StatusCode, res.Header.Get("x-relay-error"))
	}
	s.stop(t)

	// Said once.
	s = w.start()
	if strings.Contains(s.errs.String(), "shipped catalogue") {
		t.Errorf("said twice: %s", s.errs)
	}
	s.stop(t)
	w.noneLeft("Ctrl-C")
}
