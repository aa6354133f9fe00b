// Package sse is the k6 module k6/x/sse: it sends a request and reads the event stream
// that comes back, as it comes.
//
//	import sse from 'k6/x/sse';
//	const r = sse.post(url, body, {headers: {...}, timeout: 60, tags: {...}});
//	r.status, r.tokens, r.firstToken, r.gaps, r.complete, r.error, ...   (type Reading)
//
// Besides k6's own http_reqs, http_req_duration and http_req_failed it feeds the metrics
// sse_first_token and sse_gap (times), sse_tokens (a counter) and sse_complete (a rate).
package sse

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/grafana/sobek"
	"go.k6.io/k6/js/common"
	"go.k6.io/k6/js/modules"
	"go.k6.io/k6/metrics"
)

func init() { modules.Register("k6/x/sse", root{}) }

type root struct{}

// NewModuleInstance makes the module of one virtual user.
func (root) NewModuleInstance(vu modules.VU) modules.Instance {
	m := &module{vu: vu}
	r := vu.InitEnv().Registry
	m.first = metric(r.NewMetric("sse_first_token", metrics.Trend, metrics.Time))
	m.gap = metric(r.NewMetric("sse_gap", metrics.Trend, metrics.Time))
	m.tokens = metric(r.NewMetric("sse_tokens", metrics.Counter))
	m.complete = metric(r.NewMetric("sse_complete", metrics.Rate))
	return m
}

// metric is for names that are known to be good.
func metric(m *metrics.Metric, err error) *metrics.Metric {
	if err != nil {
		panic(err)
	}
	return m
}

type module struct {
	vu                           modules.VU
	first, gap, tokens, complete *metrics.Metric
}

// Exports is what scripts see.
func (m *module) Exports() modules.Exports {
	return modules.Exports{Default: map[string]any{"post": m.post}, Named: map[string]any{"post": m.post}}
}

type params struct {
	headers map[string]string
	tags    map[string]string
	timeout time.Duration
}

func (m *module) params(v sobek.Value) params {
	p := params{headers: map[string]string{}, tags: map[string]string{}, timeout: time.Minute}
	if v == nil || sobek.IsUndefined(v) || sobek.IsNull(v) {
		return p
	}
	rt := m.vu.Runtime()
	o := v.ToObject(rt)
	for _, name := range o.Keys() {
		switch name {
		case "headers", "tags":
			into := p.headers
			if name == "tags" {
				into = p.tags
			}
			list := o.Get(name).ToObject(rt)
			for _, k := range list.Keys() {
				into[k] = list.Get(k).String()
			}
		case "timeout":
			p.timeout = time.Duration(o.Get(name).ToFloat() * float64(time.Second))
		default:
			common.Throw(rt, fmt.Errorf("sse.post: unknown parameter %q", name))
		}
	}
	return p
}

// post is the module's one function.
func (m *module) post(url, body string, v sobek.Value) *sobek.Object {
	rt, state := m.vu.Runtime(), m.vu.State()
	if state == nil {
		common.Throw(rt, fmt.Errorf("sse.post works in the code of virtual users only"))
	}
	p := m.params(v)
	r := fetch(m.vu.Context(), state.Transport, url, body, p)
	ended := time.Now()

	tags := state.Tags.GetCurrentValues()
	set := tags.Tags.With("status", strconv.Itoa(r.Status)).With("method", "POST").With("name", url)
	for k, val := range p.tags {
		set = set.With(k, val)
	}
	failed := 0.0
	if r.Status < 200 || r.Status >= 400 || r.Error != "" {
		failed = 1
	}
	var samples metrics.Samples
	add := func(metric *metrics.Metric, value float64) {
		samples = append(samples, metrics.Sample{TimeSeries: metrics.TimeSeries{Metric: metric, Tags: set}, Time: ended, Value: value})
	}
	add(state.BuiltinMetrics.HTTPReqs, 1)
	add(state.BuiltinMetrics.HTTPReqDuration, r.Duration)
	add(state.BuiltinMetrics.HTTPReqFailed, failed)
	if r.Status == http.StatusOK || r.Status == 0 {
		complete := 0.0
		if r.Complete() {
			complete = 1
		}
		add(m.complete, complete)
		add(m.tokens, float64(r.Tokens))
		if r.Tokens > 0 {
			add(m.first, r.FirstToken)
		}
		for _, gap := range r.Gaps {
			add(m.gap, gap)
		}
	}
	metrics.PushIfNotDone(m.vu.Context(), state.Samples, samples)

	o := rt.ToValue(map[string]any{
		"status": r.Status, "headers": r.Headers, "error": r.Error, "body": r.Body, "events": r.Events, "comments": r.Comments,
		"tokens": r.Tokens, "text": r.Text, "finish": r.Finish, "terminated": r.Terminated, "fault": r.Fault, "input": r.Input,
		"output": r.Output, "firstToken": r.FirstToken, "duration": r.Duration, "gaps": r.Gaps, "complete": r.Complete(),
	})
	return o.ToObject(rt)
}

// fetch sends the request and reads all that comes back. It never fails: what went
// wrong is in the reading.
func fetch(parent context.Context, transport http.RoundTripper, url, body string, p params) *Reading {
	ctx, cancel := context.WithTimeout(parent, p.timeout)
	defer cancel()
	r := &Reading{Headers: map[string]string{}}
	began := time.Now()
	now := func() time.Duration { return time.Since(began) }
	defer func() { r.Duration = millis(now()) }()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(body))
	if err != nil {
		r.Error = err.Error()
		return r
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("User-Agent", "tokenrelay-loadtest")
	for k, v := range p.headers {
		req.Header.Set(k, v)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		r.Error = err.Error()
		return r
	}
	defer func() { _ = resp.Body.Close() }()
	r.Status = resp.StatusCode
	for k, v := range resp.Header {
		r.Headers[strings.ToLower(k)] = strings.Join(v, ", ")
	}
	if resp.StatusCode == http.StatusOK && strings.HasPrefix(resp.Header.Get("Content-Type"), "text/event-stream") {
		r.read(resp.Body, now)
		return r
	}
	b, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	r.Body = string(b)
	if err != nil {
		r.Error = err.Error()
	} else if resp.StatusCode == http.StatusOK {
		r.Error = "not an event stream: " + resp.Header.Get("Content-Type")
	}
	return r
}
