package mockllm

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Units are the tokens of one answer in the classes that providers bill. Input
// excludes what was read from or written to the cache; Output includes Reasoning.
type Units struct {
	Input        int64 `json:"input"`
	CacheRead    int64 `json:"cache_read"`
	CacheWrite   int64 `json:"cache_write"`
	CacheWrite1h int64 `json:"cache_write_1h"`
	Output       int64 `json:"output"`
	Reasoning    int64 `json:"reasoning"`
}

// TotalInput is every input token, whatever its class.
func (u Units) TotalInput() int64 { return u.Input + u.CacheRead + u.CacheWrite + u.CacheWrite1h }

func (u *Units) add(v Units) {
	u.Input += v.Input
	u.CacheRead += v.CacheRead
	u.CacheWrite += v.CacheWrite
	u.CacheWrite1h += v.CacheWrite1h
	u.Output += v.Output
	u.Reasoning += v.Reasoning
}

// The ends of a request, as the mock saw them.
const (
	EndOpen     = "open"     // still running
	EndFinished = "finished" // every byte of the answer was taken by the kernel
	EndGone     = "gone"     // the client closed or reset first
	EndFault    = "fault"    // the script ended it (cut, rst, hang that ran out)
)

// Record is what the mock served to one request.
type Record struct {
	ID         string  `json:"id"`                // the mock's own, "mock-17", in order of arrival
	Marker     string  `json:"marker,omitempty"`  // the script's id
	Lane       string  `json:"lane,omitempty"`    // first path segment
	Path       string  `json:"path"`              //
	Dialect    string  `json:"dialect,omitempty"` //
	Model      string  `json:"model,omitempty"`   // as received
	Key        string  `json:"key,omitempty"`     // last 4 characters of the provider key
	Stream     bool    `json:"stream"`            //
	BytesIn    int64   `json:"bytes_in"`          // request body
	BytesOut   int64   `json:"bytes_out"`         // response body, without its framing, taken by the kernel
	Status     int     `json:"status"`            // 0: no status was sent
	Events     int64   `json:"events"`            // SSE events written
	Usage      *Units  `json:"usage"`             // as stated honestly on the wire; nil if none was sent, or if it was a lie
	Lie        string  `json:"lie,omitempty"`     // the kind of lie sent instead
	Produced   Units   `json:"produced"`          // what was really written: the input once any of the answer was, the output so far
	Unheard    Units   `json:"unheard"`           // of Produced, what was written when the client had closed the connection already
	End        string  `json:"end"`               //
	Conn       int64   `json:"conn"`              // number of the connection
	ConnReq    int64   `json:"conn_req"`          // 1 for the first request on it
	StartedNS  int64   `json:"started_ns"`        // head read, unix ns
	FirstNS    int64   `json:"first_ns"`          // first body byte written
	LastNS     int64   `json:"last_ns"`           // just before the last write of the body: nobody has had the whole answer earlier
	EndedNS    int64   `json:"ended_ns"`          // 0 while open
	ScriptErr  string  `json:"script_error,omitempty"`
	CaseServed string  `json:"case,omitempty"`
	Extra      *Detail `json:"-"`
}

// Detail is what a request with keep=1 leaves behind for exact inspection.
type Detail struct {
	Head string
	Body []byte
}

// live is a record under way. Only its own connection writes it; what the meter
// reads meanwhile is copied under mu.
type live struct {
	mu  sync.Mutex
	rec Record
}

func (l *live) snapshot() Record {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.rec
}

// Sums are unbounded in time and count every request since the last reset.
type Sums struct {
	Requests int64         `json:"requests"`
	Open     int64         `json:"open"`
	Finished int64         `json:"finished"`
	Gone     int64         `json:"gone"`
	Fault    int64         `json:"fault"`
	Success  int64         `json:"success"` // finished with status 200
	Status   map[int]int64 `json:"status"`
	BytesIn  int64         `json:"bytes_in"`
	BytesOut int64         `json:"bytes_out"`
	Usage    Units         `json:"usage"`    // Σ of Record.Usage
	Produced Units         `json:"produced"` // Σ of Record.Produced
}

// Summary is the meter as a whole.
type Summary struct {
	Total       Sums             `json:"total"`
	Models      map[string]*Sums `json:"models"`
	Connections int64            `json:"connections"` // accepted
	BadRequests int64            `json:"bad_requests"`
	Evicted     int64            `json:"evicted"` // records no longer listed; still in the sums
}

const (
	ringSize   = 200_000 // records, unless Options say otherwise
	modelsKept = 1_000
	keptBodies = 256
)

// Meter counts what the mock served. All methods may be called at any time.
type Meter struct {
	next  atomic.Int64
	conns atomic.Int64
	bad   atomic.Int64

	mu      sync.Mutex
	size    int
	ring    []*live // grows to size, then wraps
	start   int     // index of the oldest once wrapped
	total   Sums
	models  map[string]*Sums
	evicted int64
	kept    []*live
	changed chan struct{} // closed and replaced when a record ends, if anyone waits
	waiters int
}

func newMeter(size int) *Meter {
	if size <= 0 {
		size = ringSize
	}
	m := &Meter{size: size, changed: make(chan struct{})}
	m.Reset()
	return m
}

// Reset forgets every record and sum. Requests under way are counted by neither
// side of it.
func (m *Meter) Reset() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.ring, m.start, m.evicted, m.kept = nil, 0, 0, nil
	m.total = Sums{Status: map[int]int64{}}
	m.models = map[string]*Sums{}
	m.conns.Store(0)
	m.bad.Store(0)
}

func (m *Meter) begin(l *live) {
	m.mu.Lock()
	if len(m.ring) < m.size {
		m.ring = append(m.ring, l)
	} else {
		m.ring[m.start] = l
		m.start = (m.start + 1) % m.size
		m.evicted++
	}
	m.total.Requests++
	m.total.Open++
	m.mu.Unlock()
}

// keep files the request's head and body with its record.
func (m *Meter) keep(l *live, d *Detail) {
	l.mu.Lock()
	l.rec.Extra = d
	l.mu.Unlock()
	m.mu.Lock()
	if m.kept = append(m.kept, l); len(m.kept) > keptBodies {
		old := m.kept[0]
		m.kept = append(m.kept[:0:0], m.kept[1:]...)
		old.mu.Lock()
		old.rec.Extra = nil
		old.mu.Unlock()
	}
	m.mu.Unlock()
}

// finish closes the record and adds it to the sums.
func (m *Meter) finish(l *live, end string) {
	now := time.Now().UnixNano()
	l.mu.Lock()
	l.rec.End, l.rec.EndedNS = end, now
	r := l.rec
	l.mu.Unlock()

	m.mu.Lock()
	m.total.Open--
	m.total.count(&r)
	sums := m.models[r.Model]
	if sums == nil {
		name := r.Model
		if len(m.models) >= modelsKept {
			name = "(others)"
		}
		if sums = m.models[name]; sums == nil {
			sums = &Sums{Status: map[int]int64{}}
			m.models[name] = sums
		}
	}
	sums.Requests++
	sums.count(&r)
	if m.waiters > 0 {
		close(m.changed)
		m.changed = make(chan struct{})
	}
	m.mu.Unlock()
}

func (s *Sums) count(r *Record) {
	switch r.End {
	case EndFinished:
		s.Finished++
		if r.Status == 200 {
			s.Success++
		}
	case EndGone:
		s.Gone++
	case EndFault:
		s.Fault++
	}
	s.Status[r.Status]++
	s.BytesIn += r.BytesIn
	s.BytesOut += r.BytesOut
	if r.Usage != nil {
		s.Usage.add(*r.Usage)
	}
	s.Produced.add(r.Produced)
}

// Filter chooses records. Empty members choose all.
type Filter struct {
	Marker       string
	MarkerPrefix string
	Model        string
	Lane         string
	Status       int
	End          string
	Limit        int // newest first when > 0
}

func (f *Filter) match(r *Record) bool {
	return (f.Marker == "" || r.Marker == f.Marker) &&
		(f.MarkerPrefix == "" || strings.HasPrefix(r.Marker, f.MarkerPrefix)) &&
		(f.Model == "" || r.Model == f.Model) &&
		(f.Lane == "" || r.Lane == f.Lane) &&
		(f.Status == 0 || r.Status == f.Status) &&
		(f.End == "" || r.End == f.End)
}

// Requests gives the matching records, oldest first; with f.Limit the newest so many.
func (m *Meter) Requests(f Filter) []Record {
	m.mu.Lock()
	all := make([]*live, 0, len(m.ring))
	all = append(append(all, m.ring[m.start:]...), m.ring[:m.start]...)
	m.mu.Unlock()
	out := []Record{}
	for _, l := range all {
		r := l.snapshot()
		if f.match(&r) {
			out = append(out, r)
		}
	}
	if f.Limit > 0 && len(out) > f.Limit {
		out = out[len(out)-f.Limit:]
	}
	return out
}

// Wait waits until n matching requests have ended, and gives those.
func (m *Meter) Wait(f Filter, n int, timeout time.Duration) ([]Record, bool) {
	deadline := time.NewTimer(timeout)
	defer deadline.Stop()
	m.mu.Lock()
	m.waiters++
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.waiters--
		m.mu.Unlock()
	}()
	for {
		m.mu.Lock()
		changed := m.changed
		m.mu.Unlock()
		var ended []Record
		for _, r := range m.Requests(f) {
			if r.End != EndOpen {
				ended = append(ended, r)
			}
		}
		if len(ended) >= n {
			return ended, true
		}
		select {
		case <-changed:
		case <-deadline.C:
			return ended, false
		}
	}
}

// Summary gives the sums since the last reset.
func (m *Meter) Summary() Summary {
	m.mu.Lock()
	defer m.mu.Unlock()
	s := Summary{Total: m.total.copied(), Models: map[string]*Sums{}, Connections: m.conns.Load(), BadRequests: m.bad.Load(), Evicted: m.evicted}
	for name, sums := range m.models {
		c := sums.copied()
		s.Models[name] = &c
	}
	return s
}

func (s *Sums) copied() Sums {
	c := *s
	c.Status = make(map[int]int64, len(s.Status))
	for k, v := range s.Status {
		c.Status[k] = v
	}
	return c
}

// detail gives the kept head and body of the newest request with the marker or id.
func (m *Meter) detail(id string) *Detail {
	m.mu.Lock()
	kept := append([]*live(nil), m.kept...)
	m.mu.Unlock()
	for i := len(kept) - 1; i >= 0; i-- {
		r := kept[i].snapshot()
		if (r.ID == id || r.Marker == id) && r.Extra != nil {
			return r.Extra
		}
	}
	return nil
}
