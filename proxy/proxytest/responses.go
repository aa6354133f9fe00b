package proxytest

import (
	"context"

	"tokenrelay/shared/store"
)

// kept is a client's response.
type kept struct {
	client int64
	id     string
}

// KeepResponse keeps a response, as Postgres does.
func (b *Books) KeepResponse(_ context.Context, r *store.ResponseRow) (bool, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Down {
		return false, context.DeadlineExceeded
	}
	k := kept{r.ClientID, r.ID}
	if _, ok := b.responses[k]; ok {
		return false, nil
	}
	if b.responses == nil {
		b.responses = map[kept]store.ResponseRow{}
	}
	b.responses[k] = *r
	return true, nil
}

// FindResponse finds a response.
func (b *Books) FindResponse(_ context.Context, clientID int64, id string) (store.ResponseHead, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.Down {
		return store.ResponseHead{}, context.DeadlineExceeded
	}
	r, ok := b.responses[kept{clientID, id}]
	if !ok {
		return store.ResponseHead{}, store.ErrNotFound
	}
	return store.ResponseHead{ProviderKeyID: r.ProviderKeyID, Tokens: r.Tokens, Bytes: r.Bytes, Turns: r.Turns}, nil
}

// ResponseChain gives a response and what it goes on from.
func (b *Books) ResponseChain(_ context.Context, clientID int64, id string, most int) (list []store.StoredResponse, err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for id != "" && len(list) < most {
		r, ok := b.responses[kept{clientID, id}]
		if !ok {
			return nil, store.ErrNotFound
		}
		list = append([]store.StoredResponse{{ID: id, Body: r.Body}}, list...)
		id = r.Previous
	}
	return list, nil
}

// DeleteResponse deletes a response.
func (b *Books) DeleteResponse(_ context.Context, clientID int64, id string) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	k := kept{clientID, id}
	if _, ok := b.responses[k]; !ok {
		return store.ErrNotFound
	}
	delete(b.responses, k)
	return nil
}

// Responses is the number of kept responses.
func (b *Books) Responses() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.responses)
}
