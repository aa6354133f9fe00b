package obs

import (
	"io"
	"strings"

	"github.com/VictoriaMetrics/metrics"
)

// Metrics is the metrics of one process object. There is no global registry, so two
// servers can live in one test. Names begin with relay_ and end in their unit; the
// label sets are fixed in code and never hold a key or a request id.
type Metrics struct {
	set     *metrics.Set
	process bool
}

// NewMetrics returns an empty registry. With process, WriteMetrics adds the Go and
// process metrics of the whole program (go_…, process_…).
func NewMetrics(process bool) *Metrics {
	return &Metrics{set: metrics.NewSet(), process: process}
}

// Counter returns the counter of that exposed name, labels included, such as
// `relay_requests_total{code="200"}`. It is made on first use; keep it, the look-up
// takes a lock.
func (m *Metrics) Counter(name string) *metrics.Counter {
	checkName(name)
	return m.set.GetOrCreateCounter(name)
}

// Gauge registers a gauge whose value f is asked for at each scrape. Registering a
// name twice is a bug.
func (m *Metrics) Gauge(name string, f func() float64) {
	checkName(name)
	m.set.NewGauge(name, f)
}

// Histogram returns the histogram of that exposed name (VictoriaMetrics buckets:
// vmrange). It is made on first use; keep it.
func (m *Metrics) Histogram(name string) *metrics.Histogram {
	checkName(name)
	return m.set.GetOrCreateHistogram(name)
}

// WriterFunc adds f's output to the exposition, for metrics that are computed at
// each scrape.
func (m *Metrics) WriterFunc(f func(w io.Writer)) { m.set.RegisterMetricsWriter(f) }

// WriteMetrics writes everything in the Prometheus text format.
func (m *Metrics) WriteMetrics(w io.Writer) {
	m.set.WritePrometheus(w)
	if m.process {
		metrics.WriteProcessMetrics(w)
	}
}

// Names returns the registered names, sorted, labels included.
func (m *Metrics) Names() []string { return m.set.ListMetricNames() }

func checkName(name string) {
	if !strings.HasPrefix(name, "relay_") {
		Bug("metric %q does not begin with relay_", name)
	}
}
