package claim

import (
	"bytes"
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"time"

	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// Path is where a proxy's internal port serves the answers of its book to the other
// proxies.
const Path = "/claim/answer"

const (
	peerSkew   = 2 * time.Minute // that two proxies' clocks may be apart
	maxQuery   = 4 << 10
	deadAfter  = 5 * time.Second // without a heartbeat, and nothing listens: the process is gone
	askAgain   = 250 * time.Millisecond
	headClamp  = "X-Relay-Clamped"
	headStatus = "X-Relay-Status"
	signature  = "X-Relay-Signature"
)

// query is what one proxy asks another: the answer of a claim.
type query struct {
	Slot   int16  `json:"slot"` // of the proxy that is meant
	Epoch  int64  `json:"epoch"`
	Client int64  `json:"client"`
	Key    string `json:"key"`
	Body   string `json:"body"`
	First  string `json:"first"`
	Time   int64  `json:"time"` // unix seconds
}

// sign makes the token of one query. It holds for that query and a short time only.
func (b *Book) sign(text []byte) string {
	m := hmac.New(sha256.New, b.peerKey)
	m.Write(text)
	return hex.EncodeToString(m.Sum(nil))
}

// peers is the client towards other proxies.
type peers struct{ http *http.Client }

func newPeers() *peers {
	dial := &net.Dialer{Timeout: 2 * time.Second, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return &peers{http: &http.Client{
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		Transport: &http.Transport{
			DialContext: dial.DialContext, DisableCompression: true, MaxIdleConnsPerHost: 16, IdleConnTimeout: 30 * time.Second,
		},
	}}
}

func (p *peers) close() { p.http.CloseIdleConnections() }

// mirror fills an answer from the proxy that has it, for as long as somebody follows.
func (b *Book) mirror(a *Answer, c *store.Claim) {
	ctx, stop := context.WithCancel(b.ctx)
	a.mu.Lock()
	a.stop = stop
	a.mu.Unlock()
	claim := *c
	b.running.Go(func() {
		defer stop()
		defer b.forget(a)
		s := b.copy(ctx, a, &claim)
		if s == Unheard {
			b.Stats.Errors.Add(1)
		}
		a.end(s, nil)
	})
}

// copy reads the answer from its proxy and says how that ended.
func (b *Book) copy(ctx context.Context, a *Answer, c *store.Claim) Stage {
	resp, err := b.request(ctx, a, c)
	if err != nil {
		if errors.Is(err, syscall.ECONNREFUSED) && c.Silent > deadAfter {
			return Freed
		}
		b.o.Log.Warn("another proxy does not answer", "slot", c.Slot, "url", c.InternalURL, "error", err)
		pause(ctx, askAgain)
		return Unheard
	}
	defer func() { _ = resp.Body.Close() }()
	switch resp.StatusCode {
	case http.StatusOK:
	case http.StatusNotFound:
		return Unasked
	case http.StatusGone:
		return Freed
	case http.StatusConflict:
		return Lost
	default:
		// Another process than the one that claimed: Postgres knows soon.
		b.o.Log.Warn("another proxy refuses to answer", "slot", c.Slot, "url", c.InternalURL, "status", resp.StatusCode)
		pause(ctx, askAgain)
		return Unheard
	}
	h := Head{Type: resp.Header.Get("Content-Type")}
	h.Status, _ = strconv.Atoi(resp.Header.Get(headStatus))
	h.Clamped, _ = strconv.ParseInt(resp.Header.Get(headClamp), 10, 64)
	if h.Status == 0 {
		return Unheard
	}
	a.Begin(h)
	buf := make([]byte, 32<<10)
	for {
		n, err := resp.Body.Read(buf)
		a.Write(buf[:n])
		if err == io.EOF {
			return Done
		}
		if err != nil {
			return Broken
		}
	}
}

func (b *Book) request(ctx context.Context, a *Answer, c *store.Claim) (*http.Response, error) {
	if c.InternalURL == "" {
		return nil, errors.New("it has no internal URL")
	}
	text, err := json.Marshal(query{
		Slot: c.Slot, Epoch: c.Epoch, Client: a.id.client, Key: hex.EncodeToString(a.id.key[:]), Body: hex.EncodeToString(c.Body[:]),
		First: c.RequestID.String(), Time: b.o.Now().Unix(),
	})
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, strings.TrimSuffix(c.InternalURL, "/")+Path, bytes.NewReader(text))
	if err != nil {
		return nil, err
	}
	req.Header.Set(signature, b.sign(text))
	req.Header.Set("Content-Type", "application/json")
	return b.peers.http.Do(req)
}

// ServeHTTP gives an answer of this proxy to another proxy: 200 and the body as it
// comes, 404 if there is none under way, 410 if it ended without output, 409 if it
// can not be repeated, 421 if another process is meant. A body that breaks off does
// so here as well.
func (b *Book) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	text, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxQuery))
	if err != nil {
		http.Error(w, "the query is not readable", http.StatusBadRequest)
		return
	}
	var q query
	if !hmac.Equal([]byte(r.Header.Get(signature)), []byte(b.sign(text))) || json.Unmarshal(text, &q) != nil ||
		b.o.Now().Sub(time.Unix(q.Time, 0)).Abs() > peerSkew {
		http.Error(w, "not one of us", http.StatusForbidden)
		return
	}
	if q.Slot != b.o.Slot || q.Epoch != b.o.Epoch {
		http.Error(w, "another process is meant", http.StatusMisdirectedRequest)
		return
	}
	a := b.lookup(r.Context(), &q)
	if a == nil {
		http.Error(w, "not under way", http.StatusNotFound)
		return
	}
	defer a.Leave()
	b.Stats.Attached.Add(1)
	s := Waiting
	for s == Waiting {
		if r.Context().Err() != nil {
			return
		}
		s = a.Wait(askAgain)
	}
	switch s {
	case Running, Done, Broken:
	case Lost:
		http.Error(w, "can not be repeated", http.StatusConflict)
		return
	default:
		http.Error(w, "ended without an answer", http.StatusGone)
		return
	}
	h := a.Head()
	w.Header().Set("Content-Type", h.Type)
	w.Header().Set(headStatus, strconv.Itoa(h.Status))
	w.Header().Set(headClamp, strconv.FormatInt(h.Clamped, 10))
	w.WriteHeader(http.StatusOK)
	out := http.NewResponseController(w)
	_ = out.Flush()
	for at := 0; ; {
		p, s := a.Next(at, askAgain)
		if r.Context().Err() != nil {
			return
		}
		if len(p) > 0 {
			if _, err := w.Write(p); err != nil {
				return
			}
			_ = out.Flush()
			at += len(p)
			continue
		}
		switch {
		case s == Done:
			return
		case s > Running:
			// The other side must not see a clean end: the connection goes without one.
			if c, _, err := out.Hijack(); err == nil {
				_ = c.Close()
			}
			return
		}
	}
}

// lookup finds the answer that another proxy asks for, and follows it.
func (b *Book) lookup(ctx context.Context, q *query) *Answer {
	var key id
	var body [32]byte
	first, err := reqid.Parse([]byte(q.First))
	if err != nil || !digest(&key.key, q.Key) || !digest(&body, q.Body) {
		return nil
	}
	key.client = q.Client
	for {
		b.mu.Lock()
		a := b.answers[key]
		b.mu.Unlock()
		if a == nil {
			return nil
		}
		a.mu.Lock()
		switch {
		case !a.known, a.closed && a.stage < Done: // it has the row, and is about to know or to end
		case !a.leader || a.first != first || a.body != body || a.closed:
			a.mu.Unlock()
			return nil
		default:
			a.followers++
			a.mu.Unlock()
			return a
		}
		a.mu.Unlock()
		if ctx.Err() != nil {
			return nil
		}
		a.settled(askAgain)
	}
}

func digest(dst *[32]byte, text string) bool {
	b, err := hex.DecodeString(text)
	return err == nil && copy(dst[:], b) == len(dst) && len(b) == len(dst)
}
