package claim

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"

	"tokenrelay/shared/reqid"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// An answer at rest: version, status, clamped cap, length and text of its type, body.
const (
	sealedVersion = 1
	sealedFixed   = 1 + 2 + 8 + 1
)

// box is the box of one answer. Every answer has a key of its own, so that no number
// of answers wears one key out.
func (b *Book) box(first reqid.ID) (*seal.Box, error) {
	m := hmac.New(sha256.New, b.sealKey)
	m.Write(first[:])
	return seal.New(m.Sum(nil))
}

// place binds a sealed answer to its client, its idempotency key, and the body and
// the request that it answers.
func place(key id, body [32]byte, first reqid.ID) seal.Place {
	name := make([]byte, 0, 80)
	name = append(append(append(name, key.key[:]...), body[:]...), first[:]...)
	return seal.Place{Table: "claim", Column: "answer", Row: key.client, Version: sealedVersion, Name: string(name)}
}

func (b *Book) seal(a *Answer, first reqid.ID, h Head, body []byte) ([]byte, error) {
	box, err := b.box(first)
	if err != nil {
		return nil, err
	}
	p := make([]byte, 0, sealedFixed+len(h.Type)+len(body))
	p = append(p, sealedVersion)
	p = binary.BigEndian.AppendUint16(p, uint16(h.Status))
	p = binary.BigEndian.AppendUint64(p, uint64(h.Clamped))
	p = append(p, byte(len(h.Type)))
	p = append(p, h.Type...)
	p = append(p, body...)
	return box.Seal(p, place(a.id, a.body, first)), nil
}

// open fills an answer from its copy at rest. false: there is none that opens.
func (b *Book) open(a *Answer, c *store.Claim) bool {
	if c.Answer == nil {
		return false
	}
	box, err := b.box(c.RequestID)
	if err != nil {
		return false
	}
	p, err := box.Open(c.Answer, place(a.id, c.Body, c.RequestID))
	if err != nil || len(p) < sealedFixed || p[0] != sealedVersion || len(p) < sealedFixed+int(p[11]) {
		b.o.Log.Warn("a stored answer does not open", "request_id", c.RequestID.String())
		return false
	}
	at := sealedFixed + int(p[11])
	a.mu.Lock()
	defer a.mu.Unlock()
	a.head = Head{Status: int(binary.BigEndian.Uint16(p[1:])), Clamped: int64(binary.BigEndian.Uint64(p[3:])), Type: string(p[12:at])}
	a.buf, a.stage = p[at:], Running
	a.book.bytes.Add(int64(len(a.buf)))
	return true
}
