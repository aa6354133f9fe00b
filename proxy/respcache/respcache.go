// Package respcache keeps answers of clients who asked for it, in memory and for a while,
// to give the same client the same answer to the same request. It is only a cache: it may
// lose an answer at any time, and never gives one to another question.
package respcache

import (
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"encoding/json"
	"time"

	"github.com/dgraph-io/ristretto/v2"

	"tokenrelay/shared/usage"
)

// MaxAnswer is the most bytes of an answer that is kept.
const MaxAnswer = 1 << 20

// Answer is a whole answer as its client got it. It is immutable once kept.
type Answer struct {
	Body  []byte
	Type  string // media type
	Units usage.Units

	key   Key
	until int64 // unix ms
}

// Key is the digest of all that an answer depends on.
type Key [sha256.Size]byte

// Question is what an answer depends on. Another client is another question, always.
type Question struct {
	Client       int64
	Model        string // public id that serves
	Asked        string // as the client named it: the answer repeats it
	PriceVersion string // of this client
	Rules        string // of this client, as stored
	Endpoint     uint8
	Stream       bool
	Array        bool
	Body         []byte // JSON
}

// Key digests the question. The body counts by what it says: order and spaces between
// members do not matter. ok is false for a body that is no JSON.
func (q *Question) Key() (k Key, ok bool) {
	d := json.NewDecoder(bytes.NewReader(q.Body))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil {
		return k, false
	}
	body, err := json.Marshal(v) // members sorted
	if err != nil {
		return k, false
	}
	h := sha256.New()
	var n [8]byte
	part := func(b []byte) {
		binary.LittleEndian.PutUint64(n[:], uint64(len(b)))
		h.Write(n[:])
		h.Write(b)
	}
	part(binary.LittleEndian.AppendUint64(nil, uint64(q.Client)))
	flags := []byte{q.Endpoint, 0}
	if q.Stream {
		flags[1] |= 1
	}
	if q.Array {
		flags[1] |= 2
	}
	part(flags)
	for _, s := range []string{q.Model, q.Asked, q.PriceVersion, q.Rules} {
		part([]byte(s))
	}
	part(body)
	h.Sum(k[:0])
	return k, true
}

// Cache holds answers up to a number of bytes. It is safe for concurrent use.
type Cache struct {
	c *ristretto.Cache[uint64, *Answer]
}

// New makes a cache of so many bytes.
func New(maxBytes int64) (*Cache, error) {
	c, err := ristretto.NewCache(&ristretto.Config[uint64, *Answer]{
		NumCounters: max(1000, maxBytes/1024), MaxCost: maxBytes, BufferItems: 64, IgnoreInternalCost: false,
	})
	if err != nil {
		return nil, err
	}
	return &Cache{c: c}, nil
}

// slot is the place of a key: the whole key is compared in the value.
func (k *Key) slot() uint64 { return binary.LittleEndian.Uint64(k[:8]) }

// Get finds the answer of a key, nil if there is none at now (unix ms).
func (c *Cache) Get(k *Key, now int64) *Answer {
	a, ok := c.c.Get(k.slot())
	if !ok || a.key != *k || now >= a.until {
		return nil
	}
	return a
}

// Keep keeps an answer until so many seconds after now (unix ms). Its bytes are copied.
func (c *Cache) Keep(k *Key, a Answer, now, seconds int64) {
	if len(a.Body) > MaxAnswer {
		return
	}
	a.Body, a.key, a.until = bytes.Clone(a.Body), *k, now+seconds*1000
	c.c.SetWithTTL(k.slot(), &a, int64(len(a.Body))+512, time.Duration(seconds)*time.Second)
}

// Wait returns once what was kept can be found. For tests.
func (c *Cache) Wait() { c.c.Wait() }

// Close ends the cache.
func (c *Cache) Close() { c.c.Close() }
