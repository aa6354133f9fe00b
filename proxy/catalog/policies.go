package catalog

import (
	"sync"

	"tokenrelay/proxy/guard"
	"tokenrelay/shared/policy"
)

// maxPolicies bounds how many compiled policies are remembered. Keys keep theirs.
const maxPolicies = 1024

// policies are compiled once for all keys of a client, and for all clients that have set
// the same. Only look-ups of cold keys ask.
type policies struct {
	mu   sync.Mutex // guards seen
	seen map[string]*guard.Policy
}

// of is the policy of stored rules; nil if they ask for nothing. unruled: they cannot be
// read, as those of a later build, and must not be taken for none.
func (p *policies) of(rules []byte) (_ *guard.Policy, unruled bool) {
	if len(rules) == 0 || string(rules) == "{}" {
		return nil, false
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if g := p.seen[string(rules)]; g != nil {
		return g, false
	}
	r, err := policy.Parse(rules)
	if err != nil {
		return nil, true
	}
	if len(p.seen) >= maxPolicies || p.seen == nil {
		p.seen = make(map[string]*guard.Policy)
	}
	g := guard.Compile(r)
	p.seen[string(rules)] = g
	return g, false
}
