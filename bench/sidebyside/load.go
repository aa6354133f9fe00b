package main

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// work is one load: so many requests a second (open loop) or as many as go through
// (Rate 0, closed loop), plain or streamed.
type work struct {
	Conns  int
	Rate   float64
	Warm   time.Duration // the same before, on the same connections, of which errors alone count
	Span   time.Duration
	Stream bool
	Events int           // content events per stream
	Gap    time.Duration // the provider's pause before each
	First  time.Duration // the provider's pause before the head
	Prompt int           // bytes of text in the request, 0 = promptBytes
	Other  bool          // from a provider of another protocol, where the target can translate
}

// door is how a target is spoken to.
type door struct {
	Addr   string   // host:port
	More   []string // of the same target: its connections take turns with Addr and these
	Path   string
	Key    string // bearer token, "" for none
	Direct bool
	Other  string // the model that a provider of another protocol has, "" = none
}

// outcome is what a load saw.
type outcome struct {
	Sent     int64
	OK       int64 // answers with every byte as the provider sent it
	Events   int64
	Seconds  float64
	Latency  []int64 // ns, ascending, of answers that were right
	First    []int64 // ns to the first content event
	Delay    []int64 // ns from the provider's write of an event to its arrival
	Errors   map[string]int64
	OneError string // an example
}

func (o *outcome) fail(kind, detail string) {
	if o.Errors == nil {
		o.Errors = map[string]int64{}
	}
	o.Errors[kind]++
	if o.OneError == "" {
		o.OneError = kind + ": " + detail
	}
}

func (o *outcome) add(b *outcome) {
	o.Sent += b.Sent
	o.OK += b.OK
	o.Events += b.Events
	o.Latency = append(o.Latency, b.Latency...)
	o.First = append(o.First, b.First...)
	o.Delay = append(o.Delay, b.Delay...)
	for kind, n := range b.Errors {
		if o.Errors == nil {
			o.Errors = map[string]int64{}
		}
		o.Errors[kind] += n
	}
	if o.OneError == "" {
		o.OneError = b.OneError
	}
}

// failures is the number of requests that went wrong.
func (o *outcome) failures() int64 {
	var n int64
	for _, k := range o.Errors {
		n += k
	}
	return n
}

// quantile of an ascending list, 0 if it is empty.
func quantile(sorted []int64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return float64(sorted[min(int(q*float64(len(sorted))), len(sorted)-1)])
}

const (
	model       = "bench-model"
	promptBytes = 2000
	patience    = 30 * time.Second
)

// request is the bytes of one request: a system prompt, two turns and a question, 2 KB if
// the load does not say another length.
func (d door) request(w work) []byte {
	fill := func(n int) string { return strings.Repeat(prose, n/len(prose)+1)[:n] }
	type message struct {
		Role    string `json:"role"`
		Content string `json:"content"`
	}
	directive := fmt.Sprintf("[[events=%d gap_us=%d first_us=%d]] ", w.Events, w.Gap.Microseconds(), w.First.Microseconds())
	body := struct {
		Model    string    `json:"model"`
		Messages []message `json:"messages"`
		Most     int       `json:"max_tokens"`
		Heat     float64   `json:"temperature"`
		Stream   bool      `json:"stream,omitempty"`
		Options  any       `json:"stream_options,omitempty"`
	}{Model: model, Most: 512, Heat: 0.7, Stream: w.Stream}
	if w.Other && d.Other != "" {
		body.Model = d.Other
	}
	quarter := cmp.Or(w.Prompt, promptBytes) / 4
	body.Messages = []message{{"system", fill(quarter)}, {"user", fill(quarter)}, {"assistant", fill(quarter)}, {"user", directive + fill(quarter)}}
	if w.Stream {
		body.Options = map[string]bool{"include_usage": true}
	}
	b, _ := json.Marshal(body)
	head := fmt.Sprintf("POST %s HTTP/1.1\r\nHost: %s\r\nContent-Type: application/json\r\nUser-Agent: sidebyside\r\n", d.Path, d.Addr)
	if d.Key != "" {
		head += "Authorization: Bearer " + d.Key + "\r\n"
	}
	return append([]byte(head+fmt.Sprintf("Content-Length: %d\r\n\r\n", len(b))), b...)
}

// caller is one connection of a load and what it saw.
type caller struct {
	c       client
	w       work
	request []byte
	got     []byte // of a plain answer, or an event that is not whole yet
	want    []byte
	other   bool // the stream is a translation: its events are read, not compared
	outcome
}

// addr is where connection i goes.
func (d door) addr(i int) string {
	if i %= 1 + len(d.More); i > 0 {
		return d.More[i-1]
	}
	return d.Addr
}

// newCaller makes connection i of a load.
func newCaller(d door, i int, w work) *caller {
	return &caller{c: client{addr: d.addr(i)}, w: w, request: d.request(w), other: w.Other && d.Other != ""}
}

// one makes one request. due is when it should have begun; first, if not nil, is called
// at the first content event.
func (k *caller) one(due time.Time, limit time.Duration, first func()) {
	k.Sent++
	if err := k.c.start(k.request, limit); err != nil {
		k.fail("connection", err.Error())
		k.c.drop()
		return
	}
	if k.w.Stream && k.c.status == 200 {
		k.stream(due, first)
	} else {
		k.plain(due)
	}
	if k.c.closing {
		k.c.drop()
	}
}

func (k *caller) plain(due time.Time) {
	k.got = k.got[:0]
	for {
		p, err := k.c.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			k.fail("cut", err.Error())
			k.c.drop()
			return
		}
		k.got = append(k.got, p...)
	}
	took := time.Since(due)
	if k.c.status != 200 {
		k.fail(fmt.Sprintf("status %d", k.c.status), string(k.got[:min(len(k.got), 300)]))
		return
	}
	if len(k.want) == 0 {
		k.want = appendAnswer(nil, model)
	}
	if !bytes.Equal(k.got, k.want) {
		k.fail("other bytes", string(k.got[:min(len(k.got), 300)]))
		return
	}
	k.OK++
	k.Latency = append(k.Latency, int64(took))
}

// stream reads the events of one stream and compares each with what the provider must
// have sent.
func (k *caller) stream(due time.Time, first func()) {
	k.got = k.got[:0]
	wrong := ""
	next, content := 0, 0 // events so far, of them with content
	usage, ended := false, false
	event := func(b []byte) {
		if k.other {
			next++
			seq, nanos, ok := findMark(b)
			switch {
			case ok && seq == content:
				k.arrived(content, nanos, due, first)
				content++
			case bytes.Equal(b, []byte(streamEnd)):
				ended = usage && content == k.w.Events
			case bytes.Contains(b, fmt.Appendf(nil, `"completion_tokens":%d`, k.w.Events)):
				usage = true
			case ok || wrong == "" && !bytes.Contains(b, []byte(`"chat.completion.chunk"`)):
				wrong = fmt.Sprintf("event %d: %q", next, b[:min(len(b), 300)])
			}
			return
		}
		want := k.want[:0]
		switch {
		case next == 0:
			want = appendRole(want, model)
		case content < k.w.Events:
			seq, nanos, ok := findMark(b)
			if !ok || seq != content {
				break
			}
			k.arrived(content, nanos, due, first)
			want = appendDelta(want, model, seq, nanos)
			content++
		case next == k.w.Events+1:
			want = appendFinish(want, model)
		case next == k.w.Events+2:
			want = appendUsage(want, model, k.w.Events)
		case next == k.w.Events+3:
			want = append(want, streamEnd...)
		}
		next++
		k.want = want
		if wrong == "" && !bytes.Equal(b, want) {
			wrong = fmt.Sprintf("event %d: %q", next, b[:min(len(b), 300)])
		}
	}
	for {
		p, err := k.c.next()
		if err == io.EOF {
			break
		}
		if err != nil {
			k.fail("cut", err.Error())
			k.c.drop()
			return
		}
		for len(p) > 0 {
			// An event ends at a blank line; its two bytes may come apart.
			if len(k.got) > 0 {
				n := len(k.got)
				i := bytes.IndexByte(p, '\n')
				if i < 0 {
					k.got = append(k.got, p...)
					break
				}
				k.got = append(k.got, p[:i+1]...)
				p = p[i+1:]
				if (i == 0 && k.got[n-1] == '\n') || bytes.HasSuffix(k.got, []byte("\n\n")) {
					event(k.got)
					k.got = k.got[:0]
				}
				continue
			}
			i := bytes.Index(p, []byte("\n\n"))
			if i < 0 {
				k.got = append(k.got, p...)
				break
			}
			event(p[:i+2])
			p = p[i+2:]
		}
	}
	switch {
	case wrong != "":
		k.fail("other bytes", wrong)
	case k.other && ended && len(k.got) == 0:
		k.OK++
		k.Latency = append(k.Latency, int64(time.Since(due)))
	case k.other || next != k.w.Events+4 || len(k.got) > 0:
		k.fail("other bytes", fmt.Sprintf("%d events instead of %d, %d bytes over", next, k.w.Events+4, len(k.got)))
	default:
		k.OK++
		k.Latency = append(k.Latency, int64(time.Since(due)))
	}
}

// arrived notes a content event, the i-th.
func (k *caller) arrived(i int, nanos int64, due time.Time, first func()) {
	if i == 0 {
		k.First = append(k.First, int64(k.c.now.Sub(due)))
		if first != nil {
			first()
		}
	}
	k.Delay = append(k.Delay, k.c.now.UnixNano()-nanos)
	k.Events++
}

// drive does the work and returns when its last answer is there. Latency counts from
// when a request was due, so that a target which falls behind cannot hide it; that of a
// request whose connection was free before from when it was sent. What was due in the
// warm-up does not count.
func drive(d door, w work) outcome {
	began := time.Now()
	from := began.Add(w.Warm)
	until := from.Add(w.Span)
	var ticket atomic.Int64
	var all sync.WaitGroup
	callers := make([]*caller, w.Conns)
	for i := range callers {
		k := newCaller(d, i, w)
		callers[i] = k
		all.Go(func() {
			for {
				due := time.Now()
				if w.Rate > 0 {
					due = began.Add(time.Duration(float64(ticket.Add(1)-1) / w.Rate * 1e9))
				}
				if !due.Before(until) {
					break
				}
				counts := !due.Before(from)
				if wait := time.Until(due); wait > 0 {
					time.Sleep(wait)
					due = time.Now() // the runtime's timers are up to 1 ms late
				}
				k.one(due, patience, nil)
				if !counts {
					k.outcome = outcome{Errors: k.Errors, OneError: k.OneError}
				}
			}
			k.c.drop()
		})
	}
	all.Wait()
	return collect(callers, time.Since(from))
}

func collect(callers []*caller, took time.Duration) outcome {
	var o outcome
	for _, k := range callers {
		o.add(&k.outcome)
	}
	o.Seconds = took.Seconds()
	slices.Sort(o.Latency)
	slices.Sort(o.First)
	slices.Sort(o.Delay)
	return o
}

var errNotAllOpen = errors.New("not every stream opened")

// hold opens n streams that last, calls measure once each has had its first content,
// and leaves them all. Streams that had ended or failed by then are errors.
func hold(d door, w work, n int, measure func()) (outcome, error) {
	began := time.Now()
	var opened, failed atomic.Int64
	var leaving atomic.Bool
	var all sync.WaitGroup
	callers := make([]*caller, n)
	for i := range callers {
		k := newCaller(d, i, w)
		k.c.buf = make([]byte, 2<<10)
		callers[i] = k
		all.Go(func() {
			time.Sleep(time.Duration(i) * 2 * time.Millisecond)
			open := false
			k.one(time.Now(), 2*time.Minute, func() { open = true; opened.Add(1) })
			if !leaving.Load() {
				if open {
					opened.Add(-1)
				}
				failed.Add(1)
				return
			}
			k.Errors, k.OneError = nil, "" // we left
		})
	}
	for limit := time.Now().Add(patience + time.Duration(n)*2*time.Millisecond); opened.Load()+failed.Load() < int64(n) && time.Now().Before(limit); {
		time.Sleep(5 * time.Millisecond)
	}
	measure()
	open := opened.Load()
	leaving.Store(true)
	for _, k := range callers {
		k.c.leave()
	}
	all.Wait()
	o := collect(callers, time.Since(began))
	if open < int64(n) {
		o.fail("not open", fmt.Sprintf("%d of %d streams were open", open, n))
		return o, errNotAllOpen
	}
	return o, nil
}
