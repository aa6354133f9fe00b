package crash

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/apptest/mockllm"
	"tokenrelay/shared/money"
)

// answer is what the client knows of one request.
type answer struct {
	marker  string
	account int
	stream  bool
	status  int    // 0: no answer came
	id      string // x-request-id of the answer
	code    string // the relay's error code
	text    int    // bytes of output text received
	out     int    // tokens asked for, in so many chunks
	chunks  int
	whole   bool // the answer came to its own, orderly end
	err     error
	began   time.Time
	ended   time.Time
}

func (a *answer) String() string {
	return fmt.Sprintf("%s (stream %t): status %d %s, id %s, %d bytes of text, whole %t, %v", a.marker, a.stream, a.status, a.code, a.id, a.text, a.whole, a.err)
}

// load is customers at work: each worker sends one request after another.
type load struct {
	w    *world
	name string
	url  string
	pick func(*rand.Rand) string // in place of url: a balancer between several proxies

	token string                                           // in place of the accounts' keys
	model string                                           // in place of the lanes' models; Chat only
	price func(a *answer, u *mockllm.Units) []money.Amount // what may be charged, in place of the one price list

	streams  int // workers that stream, half of them Messages
	buffered int // workers that do not
	poor     int // every so manieth worker uses one of the poorest accounts; 0: all alike
	poorest  int // accounts that are poor, the last ones; 0: one
	chunks   int // of the longest stream
	gap      time.Duration

	late bool // a proxy is declared lost, so that some charges come late

	due func() time.Duration // until a worker may begin its next request, nil = at once

	open atomic.Int64 // streams of which some output has arrived
	busy atomic.Int64 // buffered requests under way

	ctx     context.Context
	stop    context.CancelFunc
	running sync.WaitGroup
	mu      sync.Mutex
	answers []*answer
	refused int // connections that nobody took
}

// pace makes the workers begin no more than rate requests a second together.
func (l *load) pace(rate int) {
	began, n := time.Now(), atomic.Int64{}
	l.due = func() time.Duration {
		return time.Until(began.Add(time.Duration(n.Add(1)) * time.Second / time.Duration(rate)))
	}
}

// begin starts the workers.
func (l *load) begin() {
	l.ctx, l.stop = context.WithCancel(context.Background())
	for i := range l.streams + l.buffered {
		l.running.Go(func() { l.work(i) })
	}
}

// end lets the requests under way finish.
func (l *load) end() {
	l.stop()
	l.running.Wait()
}

func (l *load) work(worker int) {
	rnd := rand.New(rand.NewPCG(1, uint64(worker)))
	for i := 0; l.ctx.Err() == nil; i++ {
		if l.due != nil {
			time.Sleep(l.due())
		}
		a := l.request(worker, i, rnd)
		l.mu.Lock()
		if errors.Is(a.err, syscall.ECONNREFUSED) {
			l.refused++
		} else {
			l.answers = append(l.answers, a)
		}
		l.mu.Unlock()
		if a.status != 200 && (l.pick == nil || a.status != 0) { // the next one may be alive
			select {
			case <-l.ctx.Done():
			case <-time.After(time.Duration(50+rnd.IntN(100)) * time.Millisecond):
			}
		}
	}
}

// request sends one request and reads what comes.
func (l *load) request(worker, i int, rnd *rand.Rand) *answer {
	a := &answer{marker: fmt.Sprintf("%s-%d-%d", l.name, worker, i), stream: worker < l.streams, began: time.Now()}
	defer func() { a.ended = time.Now() }()
	a.account = worker % len(l.w.accounts)
	if l.poor > 0 { // few share the poor accounts
		poorest := max(1, l.poorest)
		a.account = worker % (len(l.w.accounts) - poorest)
		if worker%l.poor == 0 {
			a.account = len(l.w.accounts) - 1 - rnd.IntN(poorest)
		}
	}
	token := l.w.accounts[a.account].token
	if l.token != "" {
		token = l.token
	}
	messages := worker%2 == 1 && l.model == ""
	chunks := 2 + rnd.IntN(l.chunks-1)
	out := chunks * (1 + rnd.IntN(20))
	a.out, a.chunks = out, chunks
	gap := l.gap/4 + time.Duration(rnd.Int64N(int64(l.gap)))
	text := fmt.Sprintf("%s mock:id=%s;out=%d;chunks=%d", strings.Repeat("lorem ", rnd.IntN(40)), a.marker, out, chunks)
	more := []string{fmt.Sprintf(`"max_tokens":%d`, out+rnd.IntN(100))}
	if a.stream {
		text += ";gap=" + gap.String()
		more = append(more, `"stream":true`)
	} else {
		text += ";delay=" + time.Duration(rnd.Int64N(int64(10*l.gap))).String()
	}
	// Cached input costs less. A cut Chat stream has not told of it, so there what was
	// produced could cost less than the estimate.
	if i%3 == 0 && (messages || !a.stream) {
		text += ";cached=8"
	}
	model := "crash-chat"
	if l.model != "" {
		model = l.model
	}
	base := l.url
	if l.pick != nil {
		base = l.pick(rnd)
	}
	r := apptest.Chat(token, model, text, more...)
	if messages {
		r = apptest.Messages(token, "crash-messages", text, more...)
	}
	r = r.With("X-Request-Id", a.marker)
	if a.stream {
		l.readStream(a, base, r)
	} else {
		l.busy.Add(1)
		l.readWhole(a, base, r)
		l.busy.Add(-1)
	}
	return a
}

func (l *load) readWhole(a *answer, base string, r apptest.Request) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	resp, err := apptest.Fetch(ctx, base, r)
	if err != nil {
		a.err = err
		return
	}
	a.status, a.id, a.code, a.err = resp.Status, resp.ID(), resp.Code(), resp.Err
	a.whole = a.err == nil && json.Valid(resp.Body)
	if a.status == 200 {
		a.text = len(resp.JSON("choices", "0", "message", "content")) + len(resp.JSON("content", "0", "text"))
	}
}

func (l *load) readStream(a *answer, base string, r apptest.Request) {
	st, err := apptest.OpenStream(base, r)
	if err != nil {
		a.err = err
		return
	}
	defer st.Close()
	a.status, a.id, a.code = st.Status, st.Header.Get("X-Request-Id"), st.Header.Get("X-Relay-Error")
	if a.status != 200 {
		_, a.err = st.Rest()
		return
	}
	defer func() {
		if a.text > 0 {
			l.open.Add(-1)
		}
	}()
	ended := false
	for {
		name, data, err := st.Data()
		if err != nil {
			a.err = err
			if a.whole = ended && err == io.EOF; a.whole {
				a.err = nil
			}
			return
		}
		n, last := eventText(name, data)
		if n > 0 && a.text == 0 {
			l.open.Add(1)
		}
		a.text += n
		ended = ended || last
	}
}

// eventText is the length of the output text in an event, and whether it is the last.
func eventText(name, data string) (n int, last bool) {
	if data == "[DONE]" || name == "message_stop" {
		return 0, true
	}
	var ev struct {
		Choices []struct{ Delta struct{ Content string } }
		Delta   struct{ Text string }
	}
	if json.Unmarshal([]byte(data), &ev) != nil {
		return 0, false
	}
	n = len(ev.Delta.Text)
	for i := range ev.Choices {
		n += len(ev.Choices[i].Delta.Content)
	}
	return n, false
}
