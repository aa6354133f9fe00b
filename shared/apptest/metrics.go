package apptest

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Metrics reads the proxy's metrics: name with labels as it is written → value.
func (p *Proxy) Metrics() map[string]float64 {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	resp, err := Fetch(ctx, p.InternalURL, Request{Method: "GET", Path: "/metrics"})
	if err != nil || resp.Status != http.StatusOK {
		p.t.Fatalf("cannot read the metrics of %s: %v", p.Name, err)
	}
	m := map[string]float64{}
	for line := range strings.SplitSeq(string(resp.Body), "\n") {
		i := strings.LastIndexByte(line, ' ')
		if i < 0 || strings.HasPrefix(line, "#") {
			continue
		}
		if v, err := strconv.ParseFloat(line[i+1:], 64); err == nil {
			m[line[:i]] = v
		}
	}
	return m
}

// Metric is one of Metrics; the test fails if there is none of that name.
func (p *Proxy) Metric(name string) float64 {
	p.t.Helper()
	v, ok := p.Metrics()[name]
	if !ok {
		p.t.Fatalf("%s has no metric %s", p.Name, name)
	}
	return v
}

// Statements is the number of SQL statements that the proxy has sent since its start.
func (p *Proxy) Statements() int64 {
	p.t.Helper()
	return int64(p.Metric("relay_sql_statements_total"))
}
