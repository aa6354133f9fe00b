// Package live holds the counters of customer keys, groups and IP addresses that
// outlive cache entries: rate windows, running requests, the cut switch, and the
// wallet a key pays from.
package live

// Key is the live side of one customer key.
type Key struct{}
