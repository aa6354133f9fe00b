package relay_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tokenrelay/proxy/live"
	"tokenrelay/proxy/proxytest"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

const idem = "Idempotency-Key"

// stored waits until the books know of every end.
func stored(t *testing.T, k *proxytest.Kit) {
	t.Helper()
	for deadline := time.Now().Add(5 * time.Second); k.Claims.Stats.Pending.Load() != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the ends are not stored")
		}
	}
}

// replayed checks a repetition against the first answer.
func replayed(t *testing.T, first, again *reply) {
	t.Helper()
	if again.status != first.status || again.err != nil || !bytes.Equal(again.body, first.body) || again.header.Get("Content-Type") != first.header.Get("Content-Type") {
		t.Fatalf("the repetition differs: %d %v\n%s\nfirst: %d\n%s", again.status, again.err, again.body, first.status, first.body)
	}
	id := first.header.Get("X-Request-Id")
	if again.header.Get("X-Relay-Replayed") != id || again.header.Get("X-Request-Id") == id || first.header.Get("X-Relay-Replayed") != "" {
		t.Fatalf("headers of the repetition %v, of the first %v", again.header, first.header)
	}
}

// Rulings 1.9, F12: one after the other. One upstream call, one record, one charge,
// the same bytes; another body or another path is refused.
func TestIdempotentSequence(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	n := 0
	f := func(path, model string, stream bool) {
		t.Helper()
		n++
		id, key := fmt.Sprint("idem", n), fmt.Sprint("key ", n)
		body := strings.Replace(chat(model, "id="+id+";out=9", stream), `,"max_tokens":1000`, "", 1)
		if model == "claude-a" {
			body = chat(model, "id="+id+";out=9", stream)
		}
		first := post(t, k, path, body, idem, key)
		if first.status != 200 {
			t.Fatalf("%d %s", first.status, first.body)
		}
		before := k.Books.Statements()
		for range 2 { // from memory or from the copy, then from the copy
			replayed(t, first, post(t, k, path, body, idem, key))
			stored(t, k)
		}
		if got := k.Books.Statements() - before; got > 3 {
			t.Fatalf("%d statements for two repetitions", got)
		}
		if calls := meterCalls(meter, id); calls != 1 {
			t.Fatalf("%d upstream calls", calls)
		}
		for _, other := range []string{strings.Replace(body, "hello", "hallo", 1), body + " "} {
			r := post(t, k, path, other, idem, key)
			if r.status != 409 || r.header.Get("X-Should-Retry") != "false" || r.header.Get("X-Relay-Error") != "idempotency_conflict" || !strings.Contains(string(r.body), first.header.Get("X-Request-Id")) {
				t.Fatalf("another body: %d %s", r.status, r.body)
			}
		}
		if calls := meterCalls(meter, id); calls != 1 {
			t.Fatalf("%d upstream calls", calls)
		}
	}
	for _, stream := range []bool{false, true} {
		f("/v1/chat/completions", "gpt-a", stream)
		f("/v1/messages", "claude-a", stream)
	}
	r := post(t, k, "/v1/openai/chat/completions", strings.Replace(chat("gpt-a", "id=idem1;out=9", false), `,"max_tokens":1000`, "", 1), idem, "key 1")
	if r.status != 409 {
		t.Fatalf("another path: %d %s", r.status, r.body)
	}
	if recs := k.WaitRecords(t, n); len(recs) != n+9 { // 9 refusals have rows of their own
		for _, rec := range recs {
			if rec.Status != usage.Refused && rec.Status != usage.Success {
				t.Errorf("record %+v", rec)
			}
		}
	}
	for _, c := range k.Books.Claims() {
		if !c.Finished || bytes.Contains(c.Answer, []byte("chat")) || bytes.Contains(c.Answer, []byte("model")) {
			t.Fatalf("at rest: %+v", c)
		}
	}
	k.AtRest(t)
}

// Requests without the header ask nothing of Postgres; with it, the first one waits
// for one statement.
func TestOnlyKeysPay(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	post(t, k, "/v1/chat/completions", chat("gpt-a", "out=3", false))
	stored(t, k)
	if n := k.Books.Statements(); n != 0 {
		t.Fatalf("%d statements without a key", n)
	}
	post(t, k, "/v1/chat/completions", chat("gpt-a", "out=3", false), idem, "a")
	stored(t, k)
	if n := k.Books.Statements(); n != 2 {
		t.Fatalf("%d statements with a key; want one to take it and one behind the answer", n)
	}
	k.AtRest(t)
}

func TestIdempotencyKeyIsChecked(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	raw := func(lines string) string {
		c, err := net.Dial("tcp", k.Addr)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		body := chat("gpt-a", "id=bad;out=1", false)
		fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer %s\r\n%sContent-Length: %d\r\n\r\n%s", k.Token, lines, len(body), body)
		_ = c.SetReadDeadline(time.Now().Add(5 * time.Second))
		b, _ := io.ReadAll(c)
		return string(b)
	}
	for what, lines := range map[string]string{
		"empty": "Idempotency-Key:\r\n", "blank": "Idempotency-Key:  \t \r\n", "long": "Idempotency-Key: " + strings.Repeat("x", 256) + "\r\n",
		"beyond ASCII": "Idempotency-Key: caf\xc3\xa9\r\n", "tab": "Idempotency-Key: a\tb\r\n", "twice": "Idempotency-Key: a\r\nidempotency-key: a\r\n",
		"twice, the first empty": "Idempotency-Key:\r\nIdempotency-Key: a\r\n",
	} {
		if got := raw(lines); !strings.HasPrefix(got, "HTTP/1.1 400") || !strings.Contains(got, "Idempotency-Key") {
			t.Errorf("%s:\n%s", what, got)
		}
	}
	if n := meterCalls(meter, "bad"); n != 0 || k.Books.Statements() != 0 {
		t.Fatalf("%d upstream calls, %d statements", n, k.Books.Statements())
	}
	if got := raw("IDEMPOTENCY-KEY: " + strings.Repeat("x", 255) + "\r\n"); !strings.HasPrefix(got, "HTTP/1.1 200") {
		t.Errorf("255 characters:\n%s", got)
	}
	// It belongs to inference; elsewhere it says nothing.
	k.AtRest(t)
}

// 50 duplicates at once, streams and buffered: one upstream call, one record, one
// charge, and all answers byte-identical, whenever they came.
func TestIdempotentCrowd(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	for i, c := range []struct {
		path, model string
		stream      bool
	}{{"/v1/chat/completions", "gpt-a", true}, {"/v1/messages", "claude-a", true}, {"/v1/chat/completions", "gpt-a", false}} {
		id := fmt.Sprint("crowd", i)
		body := chat(c.model, "id="+id+";out=30;flush=1;gap=10ms;delay=100ms", c.stream)
		var wg sync.WaitGroup
		answers := make([]*reply, 50)
		for j := range answers {
			wg.Go(func() {
				time.Sleep(time.Duration(j) * 8 * time.Millisecond)
				answers[j] = post(t, k, c.path, body, idem, id)
			})
		}
		wg.Wait()
		replays := 0
		for _, a := range answers {
			if a.status != 200 || a.err != nil || !bytes.Equal(a.body, answers[0].body) {
				t.Fatalf("%d %v\n%s\nfirst:\n%s", a.status, a.err, a.body, answers[0].body)
			}
			if a.header.Get("X-Relay-Replayed") != "" {
				replays++
			}
		}
		if replays != 49 || meterCalls(meter, id) != 1 {
			t.Fatalf("%d replays, %d upstream calls", replays, meterCalls(meter, id))
		}
		if recs := k.WaitRecords(t, i+1); len(recs) != i+1 || recs[i].Status != usage.Success || recs[i].Units[usage.Output] != 30 {
			t.Fatalf("%d records, %+v", len(recs), recs[len(recs)-1])
		}
	}
	k.AtRest(t)
}

// An error before output frees the key: each repetition is a request of its own,
// until one is answered.
func TestIdempotentErrors(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	for i, c := range []struct {
		script string
		want   int
		calls  int
	}{
		{"fail=3;status=500", 502, 4}, {"fail=1;error=context_length", 400, 2}, {"fail=3;status=529", 502, 4},
	} {
		for _, stream := range []bool{false, true} {
			id := fmt.Sprintf("err%d%v", i, stream)
			body := chat("gpt-a", "id="+id+";out=5;"+c.script, stream)
			k.HealAll()
			first := post(t, k, "/v1/chat/completions", body, idem, id)
			if first.status != c.want || first.header.Get("X-Relay-Replayed") != "" {
				t.Fatalf("%s: %d %s", c.script, first.status, first.body)
			}
			k.HealAll()
			second := post(t, k, "/v1/chat/completions", body, idem, id)
			if second.status != 200 || second.header.Get("X-Relay-Replayed") != "" {
				t.Fatalf("%s: the retry: %d %s", c.script, second.status, second.body)
			}
			replayed(t, second, post(t, k, "/v1/chat/completions", body, idem, id))
			if n := meterCalls(meter, id); c.calls > 0 && n != c.calls {
				t.Fatalf("%s: %d upstream calls", c.script, n)
			}
		}
	}
	// Refused before any upstream: free as well, and no conflict with another body.
	if r := post(t, k, "/v1/chat/completions", chat("no-such", "out=5", false), idem, "refused"); r.status != 400 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := post(t, k, "/v1/chat/completions", chat("gpt-a", "out=5", false), idem, "refused"); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	k.AtRest(t)
}

// While the first waits for an upstream that fails in the end, the others wait with
// it; then one of them leads.
func TestIdempotentCrowdWithFailingLeader(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	body := chat("gpt-a", "id=fl;out=5;fail=3;status=500;delay=60ms", true)
	var ok, failed atomic.Int64
	var wg sync.WaitGroup
	for range 10 {
		wg.Go(func() {
			switch r := post(t, k, "/v1/chat/completions", body, idem, "fl"); r.status {
			case 200:
				ok.Add(1)
			case 502:
				failed.Add(1)
			default:
				t.Errorf("%d %s", r.status, r.body)
			}
		})
	}
	wg.Wait()
	if n := meterCalls(meter, "fl"); ok.Load() != 9 || failed.Load() != 1 || n != 4 {
		t.Fatalf("%d answered, %d failed, %d upstream calls", ok.Load(), failed.Load(), n)
	}
	k.AtRest(t)
}

// idemStream opens a stream with a key on a connection of its own and reads until
// the answer holds want. It returns what it has read of the body.
func idemStream(t *testing.T, k *proxytest.Kit, key, body, want string) (net.Conn, *bufio.Reader) {
	t.Helper()
	c, err := net.Dial("tcp", k.Addr)
	if err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: %s\r\nContent-Length: %d\r\n\r\n%s", k.Token, key, len(body), body)
	r := bufio.NewReader(c)
	_ = c.SetReadDeadline(time.Now().Add(20 * time.Second))
	for {
		line, err := r.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(line, want) {
			return c, r
		}
	}
}

func reset(c net.Conn) {
	_ = c.(*net.TCPConn).SetLinger(0)
	_ = c.Close()
}

// The leader's customer leaves while another follows: the request goes on for that
// one, to the end, also while the upstream is silent, and is charged once and whole.
func TestLeaderLeavesFollowersStay(t *testing.T) {
	for _, when := range []string{"amid the stream", "before the first output"} {
		k, meter := standard(t, proxytest.Options{})
		script := "id=stay;out=12;flush=1;gap=150ms"
		if when == "before the first output" {
			script = "id=stay;out=12;flush=1;delay=1500ms"
		}
		body := chat("gpt-a", script, true)
		var c net.Conn
		if when == "amid the stream" {
			c, _ = idemStream(t, k, "stay", body, `delta":{"content`)
		} else {
			var err error
			if c, err = net.Dial("tcp", k.Addr); err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(c, "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\nIdempotency-Key: stay\r\nContent-Length: %d\r\n\r\n%s", k.Token, len(body), body)
			for k.Claims.Stats.Led.Load() == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		done := make(chan *reply, 3)
		for range 3 {
			go func() { done <- post(t, k, "/v1/chat/completions", body, idem, "stay") }()
		}
		for k.Claims.Stats.Attached.Load() < 3 {
			time.Sleep(time.Millisecond)
		}
		reset(c)
		var first *reply
		for range 3 {
			r := <-done
			if r.status != 200 || r.err != nil || !strings.HasSuffix(string(r.body), "data: [DONE]\n\n") {
				t.Fatalf("%s: %d %v\n%s", when, r.status, r.err, r.body)
			}
			if first == nil {
				first = r
			}
			if !bytes.Equal(r.body, first.body) || strings.Count(string(r.body), `"content":"`) < 12 {
				t.Fatalf("%s: not the same, or not from the start:\n%s", when, r.body)
			}
		}
		if n := meterCalls(meter, "stay"); n != 1 {
			t.Fatalf("%s: %d upstream calls", when, n)
		}
		rec := k.WaitRecords(t, 1)[0]
		if rec.Status != usage.Success || rec.Source != usage.SourceReported || rec.Units[usage.Output] != 12 {
			t.Fatalf("%s: record %+v", when, rec)
		}
		again := post(t, k, "/v1/chat/completions", body, idem, "stay")
		if !bytes.Equal(again.body, first.body) {
			t.Fatalf("%s: the repetition differs", when)
		}
		k.AtRest(t)
	}
}

// When the followers leave as well, the upstream is cancelled within a second, and
// the key is free.
func TestLeaderAndFollowersLeave(t *testing.T) {
	within(t, 1600*time.Millisecond, func() time.Duration {
		k, meter := standard(t, proxytest.Options{})
		body := chat("gpt-a", "id=all;out=40;flush=1;hang=6;hold=30s;fail=1", true)
		lead, _ := idemStream(t, k, "all", body, `delta":{"content`)
		follower, _ := idemStream(t, k, "all", body, `delta":{"content`)
		reset(lead)
		time.Sleep(1200 * time.Millisecond)
		if n := len(k.Records(t)); n != 0 {
			t.Fatal("ended although somebody follows")
		}
		reset(follower)
		left := time.Now()
		rec := k.WaitRecords(t, 1)[0]
		took := time.Since(left)
		if rec.Status != usage.Cancelled || rec.Charge <= 0 {
			t.Fatalf("record %+v", rec)
		}
		stored(t, k)
		if n := len(k.Books.Claims()); n != 0 {
			t.Fatalf("%d claims left", n)
		}
		_ = meter
		k.AtRest(t)
		return took
	})
}

// A follower that leaves, or reads nothing, changes nothing for the leader.
func TestFollowersAreHarmless(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	body := chat("gpt-a", "id=harm;out=40;flush=1;gap=15ms;size=2000", true)
	var stalled []net.Conn
	lead := make(chan *reply, 1)
	start := time.Now()
	go func() { lead <- post(t, k, "/v1/chat/completions", body, idem, "harm") }()
	for k.Claims.Stats.Led.Load() == 0 {
		time.Sleep(time.Millisecond)
	}
	for range 10 {
		c, _ := idemStream(t, k, "harm", body, `delta":{"content`)
		_ = c.(*net.TCPConn).SetReadBuffer(4 << 10)
		stalled = append(stalled, c)
	}
	for _, c := range stalled[:5] {
		reset(c)
	}
	r := <-lead
	took := time.Since(start)
	if r.status != 200 || r.err != nil || !strings.HasSuffix(string(r.body), "data: [DONE]\n\n") || took > 3*time.Second {
		t.Fatalf("%d %v after %s", r.status, r.err, took)
	}
	for _, c := range stalled[5:] {
		reset(c)
	}
	k.AtRest(t)
}

// A stream that breaks off does so for its followers, with the same bytes; the retry
// is a new request.
func TestIdempotentStreamBreaks(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	body := chat("gpt-a", "id=brk;out=20;flush=1;gap=30ms;cut=10;fail=1", true)
	answers := make(chan *reply, 4)
	for range 4 {
		go func() { answers <- post(t, k, "/v1/chat/completions", body, idem, "brk") }()
	}
	var first *reply
	for range 4 {
		r := <-answers
		if first == nil {
			first = r
		}
		if r.status != 200 || r.err == nil || !strings.Contains(string(r.body), `data: {"error":{`) || !bytes.Equal(r.body, first.body) {
			t.Fatalf("%d %v\n%s\nfirst\n%s", r.status, r.err, r.body, first.body)
		}
	}
	if n := meterCalls(meter, "brk"); n != 1 {
		t.Fatalf("%d upstream calls", n)
	}
	r := post(t, k, "/v1/chat/completions", body, idem, "brk")
	if r.status != 200 || r.err != nil || !strings.HasSuffix(string(r.body), "[DONE]\n\n") || meterCalls(meter, "brk") != 2 {
		t.Fatalf("the retry: %d %v\n%s", r.status, r.err, r.body)
	}
	if recs := k.WaitRecords(t, 2); len(recs) != 2 {
		t.Fatalf("%d records", len(recs))
	}
	k.AtRest(t)
}

// By the clock: the answer is repeated for a day, then the key is free.
func TestIdempotencyExpires(t *testing.T) {
	var ahead atomic.Int64
	k, meter := standard(t, proxytest.Options{Now: func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }})
	body := chat("gpt-a", "id=day;out=3", false)
	first := post(t, k, "/v1/chat/completions", body, idem, "day")
	stored(t, k)
	ahead.Store(int64(24*time.Hour - time.Minute))
	replayed(t, first, post(t, k, "/v1/chat/completions", body, idem, "day"))
	ahead.Store(int64(24*time.Hour + time.Minute))
	if r := post(t, k, "/v1/chat/completions", body, idem, "day"); r.status != 200 || r.header.Get("X-Relay-Replayed") != "" {
		t.Fatalf("%d %v", r.status, r.header)
	}
	if n := meterCalls(meter, "day"); n != 2 {
		t.Fatalf("%d upstream calls", n)
	}
	k.AtRest(t)
}

// Rulings 3.17: without retention nothing of the answer is kept, and a repetition is
// refused, naming the first request. A large answer likewise.
func TestUnrepeatable(t *testing.T) {
	k, meter := standard(t, proxytest.Options{})
	f := func(script string, stream bool) {
		t.Helper()
		body := chat("gpt-a", script, stream)
		first := post(t, k, "/v1/chat/completions", body, idem, script)
		if first.status != 200 || first.err != nil {
			t.Fatalf("%d %v", first.status, first.err)
		}
		stored(t, k)
		r := post(t, k, "/v1/chat/completions", body, idem, script)
		if r.status != 409 || r.header.Get("X-Relay-Error") != "idempotency_conflict" || !strings.Contains(string(r.body), first.header.Get("X-Request-Id")) {
			t.Fatalf("%s: %d %.300s", script, r.status, r.body)
		}
	}
	f("id=big;huge=1200000", false)
	f("id=line;out=20;line=1200000", true)
	k.Books.Retention = 0
	f("id=zero;out=3", false)
	f("id=zeros;out=3", true)
	for _, c := range k.Books.Claims() {
		if c.Answer != nil {
			t.Fatalf("an answer of %d bytes is kept", len(c.Answer))
		}
	}
	for _, id := range []string{"big", "line", "zero", "zeros"} {
		if n := meterCalls(meter, id); n != 1 {
			t.Errorf("%s: %d upstream calls", id, n)
		}
	}
	// Who attaches in time gets it all the same.
	body := chat("gpt-a", "id=live;huge=1500000;delay=300ms", false)
	answers := make(chan *reply, 2)
	for range 2 {
		go func() { answers <- post(t, k, "/v1/chat/completions", body, idem, "live") }()
	}
	a, b := <-answers, <-answers
	if a.status != 200 || b.status != 200 || !bytes.Equal(a.body, b.body) || meterCalls(meter, "live") != 1 {
		t.Fatalf("%d %d", a.status, b.status)
	}
	k.AtRest(t)
}

// Postgres away: requests without a key go on, requests with one are told to come
// again, and nothing is charged.
func TestIdempotencyWithoutPostgres(t *testing.T) {
	k, _ := standard(t, proxytest.Options{})
	post(t, k, "/v1/chat/completions", chat("gpt-a", "out=3", false))
	k.Books.SetDown(true)
	r := post(t, k, "/v1/chat/completions", chat("gpt-a", "out=3", false), idem, "down")
	if r.status != 503 || r.header.Get("Retry-After") == "" {
		t.Fatalf("%d %s", r.status, r.body)
	}
	if r := post(t, k, "/v1/chat/completions", chat("gpt-a", "out=3", false)); r.status != 200 {
		t.Fatalf("%d %s", r.status, r.body)
	}
	k.Books.SetDown(false)
	k.AtRest(t)
}

// A follower's own key is judged: cut when it is disabled.
func TestFollowerIsCut(t *testing.T) {
	within(t, 1200*time.Millisecond, func() time.Duration {
		k, _ := standard(t, proxytest.Options{})
		body := chat("gpt-a", "out=40;flush=1;hang=6;hold=30s", true)
		_, lead := idemStream(t, k, "cut", body, `delta":{"content`)
		_, follower := idemStream(t, k, "cut", body, `delta":{"content`)
		k.Live.Find(1).SetCut(live.CutNow)
		cut := time.Now()
		for _, r := range []*bufio.Reader{lead, follower} {
			rest, _ := io.ReadAll(r)
			if !strings.Contains(string(rest), `key_disabled`) || strings.Contains(string(rest), "[DONE]") {
				t.Errorf("ends with\n%s", rest)
			}
		}
		took := time.Since(cut)
		k.WaitRecords(t, 1)
		k.AtRest(t)
		return took
	})
}

// With the drain policy the whole answer is read, and a retry gets it.
func TestDrainedAnswerIsReplayed(t *testing.T) {
	k, meter := standard(t, proxytest.Options{Key: func(r *store.KeyRow) { r.DrainTokens = 1000 }})
	body := chat("gpt-a", "id=dr;out=12;flush=1;gap=40ms", true)
	c, _ := idemStream(t, k, "dr", body, `delta":{"content`)
	reset(c)
	r := post(t, k, "/v1/chat/completions", body, idem, "dr")
	if r.status != 200 || r.err != nil || !strings.HasSuffix(string(r.body), "[DONE]\n\n") || r.header.Get("X-Relay-Replayed") == "" {
		t.Fatalf("%d %v\n%s", r.status, r.err, r.body)
	}
	k.WaitRecords(t, 1)
	if n := meterCalls(meter, "dr"); n != 1 {
		t.Fatalf("%d upstream calls", n)
	}
	k.AtRest(t)
}
