package apptest

import (
	"strings"
	"syscall"
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

// The children die with the test process, however it ends: here the thread that
// starts them is asked for its promise, in the kernel's own words.
func TestChildrenDieWithTheParent(t *testing.T) {
	if attributes().Pdeathsig != syscall.SIGKILL {
		t.Error("no promise is asked for")
	}
}
