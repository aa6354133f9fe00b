package obs

import (
	"encoding/json"
	"sync"
	"sync/atomic"
)

// Ready is whether a process should get traffic: it should while every one of its
// named conditions holds. Conditions begin unmet.
type Ready struct {
	unmet atomic.Int64

	mu   sync.Mutex // guards what follows
	list []*Condition
}

// Condition is one named reason for readiness.
type Condition struct {
	ready  *Ready
	name   string
	ok     bool   // guarded by ready.mu
	reason string // why not, guarded by ready.mu
}

// NewReady returns an empty list of conditions.
func NewReady() *Ready { return &Ready{} }

// Condition adds a condition, unmet for the reason "starting".
func (r *Ready) Condition(name string) *Condition {
	c := &Condition{ready: r, name: name, reason: "starting"}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.list = append(r.list, c)
	r.unmet.Add(1)
	return c
}

// Met says that the condition holds.
func (c *Condition) Met() { c.set(true, "") }

// Unmet says that the condition does not hold, and why. The reason is shown on the
// internal port.
func (c *Condition) Unmet(reason string) { c.set(false, reason) }

func (c *Condition) set(ok bool, reason string) {
	c.ready.mu.Lock()
	defer c.ready.mu.Unlock()
	if c.ok != ok {
		c.ok = ok
		if ok {
			c.ready.unmet.Add(-1)
		} else {
			c.ready.unmet.Add(1)
		}
	}
	c.reason = reason
}

// OK reports whether every condition holds: one atomic load.
func (r *Ready) OK() bool { return r.unmet.Load() == 0 }

// JSON returns {"ready":bool,"conditions":{name:"ok" or the reason}}.
func (r *Ready) JSON() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	body := struct {
		Ready      bool              `json:"ready"`
		Conditions map[string]string `json:"conditions"`
	}{Ready: r.unmet.Load() == 0, Conditions: make(map[string]string, len(r.list))}
	for _, c := range r.list {
		body.Conditions[c.name] = "ok"
		if !c.ok {
			body.Conditions[c.name] = c.reason
		}
	}
	out, err := json.Marshal(body)
	if err != nil {
		Bug("readiness cannot be encoded: %v", err)
	}
	return append(out, '\n')
}
