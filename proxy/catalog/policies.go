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

// OpenSecret opens the sealed secret of a client's webhook.
type OpenSecret func(clientID int64, sealed string) ([]byte, error)

// of is the policy of stored rules; nil if they ask for nothing. unruled: they cannot be
// read, as those of a later build or a secret that does not open, and must not be taken for none.
func (p *policies) of(clientID int64, rules []byte, open OpenSecret) (_ *guard.Policy, unruled bool) {
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
	if r.Webhook.URL != "" { // its secret is one client's
		if open == nil {
			return nil, true
		}
		g := guard.Compile(r)
		if g.Secret, err = open(clientID, r.Webhook.Secret); err != nil {
			return nil, true
		}
		return g, false
	}
	if len(p.seen) >= maxPolicies || p.seen == nil {
		p.seen = make(map[string]*guard.Policy)
	}
	g := guard.Compile(r)
	p.seen[string(rules)] = g
	return g, false
}
