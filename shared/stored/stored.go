// Package stored keeps responses of OpenAI's Responses for the customers that made
// them: what was said and what was answered, encrypted, each bound to its client. The
// proxy writes them and goes on from them, the admin process shows and deletes them.
package stored

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"

	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// MaxBytes is the size up to which a response is kept with its input, and MaxChain
// that of a conversation that can be gone on from.
const (
	MaxBytes = 16 << 20
	MaxChain = 32 << 20
)

// The errors besides those of the store.
var (
	ErrTooLarge = errors.New("stored: the response is larger than what is kept")
	errSealed   = errors.New("stored: the response does not open")
)

// DB is where responses stand; *store.DB is one.
type DB interface {
	KeepResponse(ctx context.Context, r *store.ResponseRow) (bool, error)
	FindResponse(ctx context.Context, clientID int64, id string) (store.ResponseHead, error)
	ResponseChain(ctx context.Context, clientID int64, id string, most int) ([]store.StoredResponse, error)
	DeleteResponse(ctx context.Context, clientID int64, id string) error
}

// Book is the kept responses of all clients.
type Book struct {
	db  DB
	key []byte
}

// New makes a book. secret is the installation's secret key.
func New(db DB, secret []byte) (*Book, error) {
	key, err := seal.Derive(secret, "responses")
	if err != nil {
		return nil, err
	}
	return &Book{db: db, key: key}, nil
}

// Response is one response to be kept.
type Response struct {
	ClientID, KeyID int64
	ID              string
	Previous        string             // the response that it goes on from, "" = none
	Before          store.ResponseHead // of that response
	ProviderKeyID   int64              // in whose account the provider has it, too; 0 = nowhere
	Tokens          int64              // of its input and its output
	Turn
}

// Turn is what was said, the member input as it came, and what was answered, the
// response as the customer got it. Both are JSON.
type Turn struct{ Input, Answer []byte }

const (
	sealedVersion = 1
	maxID         = 128
)

func (b *Book) box(clientID int64, id string) (*seal.Box, seal.Place, error) {
	m := hmac.New(sha256.New, b.key)
	m.Write(binary.BigEndian.AppendUint64(nil, uint64(clientID)))
	m.Write([]byte(id))
	box, err := seal.New(m.Sum(nil))
	return box, seal.Place{Table: "stored_response", Column: "body", Row: clientID, Version: sealedVersion, Name: id}, err
}

// Keep keeps a response. kept is false if its client keeps none.
func (b *Book) Keep(ctx context.Context, r *Response) (kept bool, err error) {
	size := len(r.Input) + len(r.Answer)
	if size > MaxBytes || len(r.ID) > maxID || r.ID == "" {
		return false, ErrTooLarge
	}
	box, place, err := b.box(r.ClientID, r.ID)
	if err != nil {
		return false, err
	}
	p := make([]byte, 0, 1+4+size)
	p = append(p, sealedVersion)
	p = binary.BigEndian.AppendUint32(p, uint32(len(r.Input)))
	p = append(append(p, r.Input...), r.Answer...)
	return b.db.KeepResponse(ctx, &store.ResponseRow{
		ClientID: r.ClientID, KeyID: r.KeyID, ID: r.ID, Previous: r.Previous, ProviderKeyID: r.ProviderKeyID, Tokens: r.Tokens,
		Bytes: r.Before.Bytes + int64(size), Turns: r.Before.Turns + 1, Body: box.Seal(p, place),
	})
}

// Find finds a response of a client. store.ErrNotFound: the client has none of that
// id.
func (b *Book) Find(ctx context.Context, clientID int64, id string) (store.ResponseHead, error) {
	if !named(id) {
		return store.ResponseHead{}, store.ErrNotFound
	}
	return b.db.FindResponse(ctx, clientID, id)
}

// named reports whether id can be one: anything else would be an error of the
// database.
func named(id string) bool {
	for i := range len(id) {
		if id[i] <= ' ' || id[i] >= 0x7f {
			return false
		}
	}
	return id != "" && len(id) <= maxID
}

// Load gives a response of a client.
func (b *Book) Load(ctx context.Context, clientID int64, id string) (Turn, error) {
	list, err := b.chain(ctx, clientID, id, 1)
	if err != nil {
		return Turn{}, err
	}
	return list[0], nil
}

// History gives a response of a client and all that it goes on from, the oldest first.
func (b *Book) History(ctx context.Context, clientID int64, id string) ([]Turn, error) {
	return b.chain(ctx, clientID, id, store.MaxResponseTurns)
}

func (b *Book) chain(ctx context.Context, clientID int64, id string, most int) ([]Turn, error) {
	if !named(id) {
		return nil, store.ErrNotFound
	}
	rows, err := b.db.ResponseChain(ctx, clientID, id, most)
	if err != nil {
		return nil, err
	}
	list := make([]Turn, len(rows))
	for i := range rows {
		box, place, err := b.box(clientID, rows[i].ID)
		if err != nil {
			return nil, err
		}
		p, err := box.Open(rows[i].Body, place)
		if err != nil || len(p) < 5 || p[0] != sealedVersion || int64(binary.BigEndian.Uint32(p[1:])) > int64(len(p)-5) {
			return nil, fmt.Errorf("%w: %s of client %d", errSealed, rows[i].ID, clientID)
		}
		at := 5 + int(binary.BigEndian.Uint32(p[1:]))
		list[i] = Turn{Input: p[5:at:at], Answer: p[at:]}
	}
	return list, nil
}

// Delete deletes a response of a client. store.ErrNotFound: it has none of that id.
func (b *Book) Delete(ctx context.Context, clientID int64, id string) error {
	if !named(id) {
		return store.ErrNotFound
	}
	return b.db.DeleteResponse(ctx, clientID, id)
}
