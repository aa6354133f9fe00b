package crash

import (
	"context"
	"os"
	"testing"
	"time"

	"tokenrelay/shared/apptest"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// catalogue has two models whose names belong to no family of tokenizers: the relay
// then estimates four bytes a token, which is what the mock's text is made of, and what
// is charged for a cut stream can be compared with what was produced to the token.
const catalogue = `
providers:
  - {name: openai, protocol: openai, dialect: openai, base_url: MOCK/openai/v1, keys: [{name: main, secret: sk-provider-openai-1111}]}
  - {name: anthropic, protocol: anthropic, base_url: MOCK/anthropic/v1, keys: [{name: main, secret: sk-ant-provider-2222}]}
models:
  - {id: crash-chat, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: openai, model: upstream-chat}], price: PRICE}
  - {id: crash-priced, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: openai, model: upstream-priced}], price: PRICE}
  - {id: crash-messages, context_tokens: 200000, max_output_tokens: 16384, routes: [{provider: anthropic, model: upstream-messages}], price: PRICE}
groups:
  - {name: default, models: ["*"], multiplier: "1"}
`

// long says that the long forms are wanted.
var long = os.Getenv("RELAY_LONG") != ""

// times is the short form's number, or the long form's.
func times(short, withLong int) int {
	if long {
		return withLong
	}
	return short
}

// account is a customer with one key.
type account struct {
	name     string
	token    string
	credit   money.Amount
	walletID int64
}

// world is a stack with a view into its books.
type world struct {
	*apptest.Stack
	t        *testing.T
	db       *store.DB
	accounts []account
}

// start starts a stack with one customer for each credit in USD.
func start(t *testing.T, o apptest.Options, credits ...string) *world {
	t.Helper()
	o.Catalogue = catalogue
	w := &world{Stack: apptest.Start(t, o), t: t}
	db, err := store.Open(t.Context(), w.DatabaseURL, store.Options{ApplicationName: "crash test", Pool: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(db.Close)
	w.db = db
	for i, usd := range credits {
		a := account{name: string(rune('a'+i)) + "-customer"}
		if a.credit, err = money.ParseUSD(usd); err != nil {
			t.Fatal(err)
		}
		w.CreateClient(a.name, usd)
		a.token = w.CreateKey(a.name).Token
		c, err := db.ClientByName(t.Context(), a.name)
		if err != nil {
			t.Fatal(err)
		}
		a.walletID = c.WalletID
		w.accounts = append(w.accounts, a)
	}
	return w
}

// rows are all usage rows of an account.
func (w *world) rows(a *account) []store.UsageRow {
	w.t.Helper()
	var all []store.UsageRow
	f := store.UsageFilter{WalletID: a.walletID, Limit: 1000}
	for {
		page, err := w.db.Usage(w.t.Context(), f)
		if err != nil {
			w.t.Fatal(err)
		}
		all = append(all, page...)
		if len(page) < f.Limit {
			return all
		}
		f.Before = page[len(page)-1].ID
	}
}

// slot is a proxy's row.
func (w *world) slot(name string) store.ProxyRow {
	w.t.Helper()
	list, err := w.db.Proxies(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	for i := range list {
		if list[i].Name == name {
			return list[i]
		}
	}
	w.t.Fatalf("no proxy %s", name)
	return store.ProxyRow{}
}

// leases are the open leases of a proxy's slot.
func (w *world) leases(name string) []store.LeaseRow {
	w.t.Helper()
	list, err := w.db.OpenLeases(w.t.Context(), w.slot(name).ID)
	if err != nil {
		w.t.Fatal(err)
	}
	return list
}

// atRest checks that no money of any account is with a proxy or held.
func (w *world) atRest() {
	w.t.Helper()
	for i := range w.accounts {
		a := &w.accounts[i]
		b, err := w.db.WalletBalance(w.t.Context(), a.walletID)
		if err != nil {
			w.t.Fatal(err)
		}
		if b.Leased != 0 || b.Reserved != 0 || b.Available != b.Balance {
			w.t.Errorf("%s at rest: %+v", a.name, b)
		}
	}
}

// watch looks at the wallets until stop: none may ever be below zero, nor have more
// lent than there is. A database that is away tells nothing.
func (w *world) watch() (stop func() int) {
	ctx, cancel := context.WithCancel(context.Background())
	looks := make(chan int)
	go func() {
		n := 0
		for {
			for i := range w.accounts {
				a := &w.accounts[i]
				if b, err := w.db.WalletBalance(ctx, a.walletID); err == nil {
					n++
					if b.Balance < 0 || b.Leased < 0 || b.Balance-b.Leased < b.Floor {
						w.t.Errorf("%s: %+v", a.name, b)
					}
				}
			}
			select {
			case <-ctx.Done():
				looks <- n
				return
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	return func() int { cancel(); return <-looks }
}

// get asks an internal or public URL and gives the status, 0 if nobody answers.
func get(t *testing.T, base, path string) int {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Second)
	defer cancel()
	r, err := apptest.Fetch(ctx, base, apptest.Request{Method: "GET", Path: path})
	if err != nil {
		return 0
	}
	return r.Status
}
