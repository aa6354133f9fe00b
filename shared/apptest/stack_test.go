package apptest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
)

// The whole in small: a key goes in, an answer comes out, the meter and the books
// agree, and every handle of the kit does what it says.
func TestStack(t *testing.T) {
	s := Start(t, Options{})
	client := s.CreateClient("acme", "10")
	key := s.CreateKey("acme")
	p := s.Proxy(0)

	r := p.Do(Chat(key.Token, "mock-chat", "hello mock:id=one;out=100"))
	if r.Status != 200 || r.Err != nil {
		t.Fatalf("%d %s", r.Status, r.Body)
	}
	if got := r.JSON("usage", "completion_tokens"); got != "100" || r.JSON("model") != "mock-chat" {
		t.Errorf("%s", r.Body)
	}
	r = p.Do(Messages(key.Token, "mock-claude", "hello mock:id=two;out=100"))
	if r.Status != 200 || r.JSON("usage", "output_tokens") != "100" {
		t.Errorf("%d %s", r.Status, r.Body)
	}
	st := p.Open(Chat(key.Token, "mock-chat", "hello mock:id=three;out=100", `"stream":true`))
	b, err := st.Rest()
	if err != nil || !strings.HasSuffix(string(b), "data: [DONE]\n\n") {
		t.Errorf("%v %s", err, b)
	}
	var cost int64
	for _, id := range []string{"one", "two", "three"} {
		list, err := s.Meter.Wait(mockllm.Filter{Marker: id}, 1, 5*time.Second)
		if err != nil || list[0].Usage == nil || list[0].Usage.Output != 100 {
			t.Fatalf("%s: %v %+v", id, err, list)
		}
		cost += Cost(*list[0].Usage)
	}
	raw := p.Raw()
	raw.Send(Chat("tsk_nobody", "mock-chat", "hi").Text())
	if r, err := raw.Response(5 * time.Second); err != nil || r.Status != 401 || r.Code() != "invalid_api_key" {
		t.Errorf("%v %+v", err, r)
	}
	if p.Statements() == 0 {
		t.Error("no statements counted")
	}
	s.Audit()

	if w, want := s.Wallet(client.Name), money.Amount(10_000_000_000-cost).String(); w.Balance != want {
		t.Errorf("the wallet is %+v, want %s", w, want)
	}
	s.Credit("acme", "5")

	p.Kill()
	if p.Running() {
		t.Error("running after kill -9")
	}
	p.Restart()
	if r := p.Do(Chat(key.Token, "mock-chat", "hello again")); r.Status != 200 {
		t.Errorf("after the restart: %d %s", r.Status, r.Body)
	}
	s.Audit()
	p.Terminate()
	if code := p.Wait(20 * time.Second); code != 0 {
		t.Errorf("exit code %d:\n%s", code, p.Log())
	}
}

// The children die with the test process, however it ends.
func TestChildrenDieWithTheParent(t *testing.T) {
	if os.Getenv("APPTEST_CHILD") != "" { // the parent to be killed
		bin, err := Binaries()
		if err != nil {
			t.Fatal(err)
		}
		s := &Stack{t: t, bin: bin, Dir: os.Getenv("APPTEST_CHILD")}
		s.startMock()
		if err := os.WriteFile(filepath.Join(s.Dir, "pid"), []byte(strconv.Itoa(s.Mock.PID())), 0o600); err != nil {
			t.Fatal(err)
		}
		select {}
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestChildrenDieWithTheParent$")
	cmd.Env = append(os.Environ(), "APPTEST_CHILD="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var pid string
	Eventually(t, 2*time.Minute, "the child has started a process", func() bool {
		b, err := os.ReadFile(filepath.Join(dir, "pid"))
		pid = string(b)
		return err == nil && pid != ""
	})
	if !processExists(pid) {
		t.Fatal("it is not there")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	Eventually(t, 10*time.Second, "the grandchild is gone", func() bool { return !processExists(pid) })
}

// A server of its own can be killed and comes back; three proxies share it.
func TestOwnPostgresAndSeveralProxies(t *testing.T) {
	s := Start(t, Options{Proxies: 3, Admins: 2, OwnPostgres: true})
	s.CreateClient("acme", "10")
	key := s.CreateKey("acme")
	for i, p := range s.Proxies {
		if r := p.Do(Chat(key.Token, "mock-chat", "hello")); r.Status != 200 {
			t.Errorf("proxy %d: %d %s", i, r.Status, r.Body)
		}
	}
	if err := s.Postgres.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := s.Postgres.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i, p := range s.Proxies {
		if r := p.Do(Chat(key.Token, "mock-chat", "hello")); r.Status != 200 {
			t.Errorf("proxy %d: %d %s", i, r.Status, r.Body)
		}
	}
	s.Audit()
	sum, err := s.Meter.Summary()
	if err != nil {
		t.Fatal(err)
	}
	if w, want := s.Wallet("acme"), money.Amount(10_000_000_000-Cost(sum.Total.Usage)).String(); w.Balance != want || sum.Total.Success != 6 {
		t.Errorf("the wallet is %+v, want %s after %d answers", w, want, sum.Total.Success)
	}
}

// A client that resets its connection, and one that leaves a stream: the kit's handles
// reach the provider's meter.
func TestLeaving(t *testing.T) {
	s := Start(t, Options{})
	s.CreateClient("acme", "10")
	key := s.CreateKey("acme")
	raw := s.Proxy(0).Raw()
	raw.Send(Chat(key.Token, "mock-chat", "hello mock:id=reset;out=9;hang=4", `"stream":true`).Text())
	if b, closed := raw.All(time.Second); closed || !strings.Contains(string(b), "data: ") {
		t.Errorf("closed %v: %s", closed, b)
	}
	raw.Reset()
	st := s.Proxy(0).Open(Chat(key.Token, "mock-chat", "hello mock:id=left;out=9;hang=4", `"stream":true`))
	if _, data, err := st.Data(); err != nil || !strings.Contains(data, "chat.completion.chunk") {
		t.Errorf("%v %s", err, data)
	}
	st.Close()
	for _, id := range []string{"reset", "left"} {
		list, err := s.Meter.Wait(mockllm.Filter{Marker: id}, 1, 5*time.Second)
		if err != nil || list[0].End != mockllm.EndGone {
			t.Errorf("%s: %v %+v", id, err, list)
		}
	}
	s.Audit()
}
