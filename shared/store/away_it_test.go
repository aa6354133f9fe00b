package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"tokenrelay/shared/embedpg"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// calls are all the operations of the store, with arguments that reach Postgres.
func calls(d *store.DB) map[string]func(context.Context) error {
	rec := usage.Record{ID: reqid.New(time.Now()), Status: usage.Success, KeyID: 1, ClientID: 1, WalletID: 1}
	v := price.Version{}
	v.Base.Rates[0], v.Base.Set = 1, 1
	return map[string]func(context.Context) error{
		"Ping":           d.Ping,
		"Now":            func(c context.Context) error { _, err := d.Now(c); return err },
		"Schema":         func(c context.Context) error { _, err := d.Schema(c); return err },
		"Partitions":     func(c context.Context) error { _, err := d.EnsurePartitions(c); return err },
		"Revision":       func(c context.Context) error { _, err := d.Revision(c); return err },
		"Changes":        func(c context.Context) error { _, err := d.Changes(c, 0, 10); return err },
		"LoadCatalog":    func(c context.Context) error { _, err := d.LoadCatalog(c); return err },
		"LoadKey":        func(c context.Context) error { _, err := d.LoadKey(c, [32]byte{1}); return err },
		"RevokedKeys":    func(c context.Context) error { _, err := d.RevokedKeys(c, 0, 1); return err },
		"Listen":         func(c context.Context) error { return d.Listen(c, nil, func(string, string) {}) },
		"ClaimSlot":      func(c context.Context) error { _, err := d.ClaimSlot(c, "p", "j", ""); return err },
		"Heartbeat":      func(c context.Context) error { _, err := d.Heartbeat(c, 1, 1, 0); return err },
		"ReportReserved": func(c context.Context) error { return d.ReportReserved(c, 1, 1, nil) },
		"CloseSlot":      func(c context.Context) error { return d.CloseSlot(c, 1, 1) },
		"ProxyLost":      func(c context.Context) error { _, err := d.ProxyLost(c, "t", "p"); return err },
		"Proxies":        func(c context.Context) error { _, err := d.Proxies(c); return err },
		"Grant": func(c context.Context) error {
			_, err := d.Grant(c, store.GrantRequest{Slot: 1, Epoch: 1, LeaseID: store.LeaseID(1, 1, 1), Seq: 1, Escrow: store.Escrow{WalletID: 1}, Need: 1})
			return err
		},
		"ReturnLease":    func(c context.Context) error { return d.ReturnLease(c, 1, 1, 1, 0, false) },
		"RenewLeases":    func(c context.Context) error { _, _, err := d.RenewLeases(c, 1, 1, nil); return err },
		"OpenLeases":     func(c context.Context) error { _, err := d.OpenLeases(c, 1); return err },
		"CloseOldLeases": func(c context.Context) error { _, err := d.CloseOldLeases(c, 1, 1); return err },
		"ReclaimExpired": func(c context.Context) error { _, err := d.ReclaimExpired(c); return err },
		"Prune":          func(c context.Context) error { _, err := d.Prune(c, store.Keep{}); return err },
		"SettleBatch":    func(c context.Context) error { _, err := d.SettleBatch(c, 1, []usage.Record{rec}); return err },
		"CountRefusals": func(c context.Context) error {
			return d.CountRefusals(c, 1, []store.RefusalCount{{N: 1, Code: "x", At: time.Now()}})
		},
		"CreateClient": func(c context.Context) error {
			_, err := d.CreateClient(c, "t", store.NewClient{Name: "x"})
			return err
		},
		"UpdateClient": func(c context.Context) error { _, err := d.UpdateClient(c, "t", 1, store.ClientPatch{}); return err },
		"ClientByID":   func(c context.Context) error { _, err := d.ClientByID(c, 1); return err },
		"ClientByName": func(c context.Context) error { _, err := d.ClientByName(c, "x"); return err },
		"ListClients":  func(c context.Context) error { _, err := d.ListClients(c, 0, 1); return err },
		"AddEntry": func(c context.Context) error {
			_, err := d.AddEntry(c, "t", store.NewEntry{WalletID: 1, Kind: "recharge", Amount: 1})
			return err
		},
		"ListEntries":   func(c context.Context) error { _, err := d.ListEntries(c, 1, 0, 1); return err },
		"Entries":       func(c context.Context) error { _, err := d.Entries(c, store.EntryFilter{WalletID: 1}); return err },
		"WalletBalance": func(c context.Context) error { _, err := d.WalletBalance(c, 1); return err },
		"CreateKey":     func(c context.Context) error { _, err := d.CreateKey(c, "t", store.NewKey{}); return err },
		"KeyByPublicID": func(c context.Context) error { _, err := d.KeyByPublicID(c, 0, "x"); return err },
		"ListKeys":      func(c context.Context) error { _, err := d.ListKeys(c, 0, 0, 1); return err },
		"PatchKey":      func(c context.Context) error { _, err := d.PatchKey(c, "t", 0, "x", store.KeyPatch{}); return err },
		"SetKeyStatus":  func(c context.Context) error { _, err := d.SetKeyStatus(c, "t", 0, "x", store.KeyActive); return err },
		"RotateKey":     func(c context.Context) error { _, err := d.RotateKey(c, "t", 0, "x", store.NewKey{}); return err },
		"SetPrice":      func(c context.Context) error { _, err := d.SetPrice(c, "t", "x", 0, &v, time.Time{}); return err },
		"ExportCatalog": func(c context.Context) error { _, err := d.ExportCatalog(c); return err },
		"PauseProvider": func(c context.Context) error { return d.PauseProvider(c, "t", "x", true) },
		"CreateUser":    func(c context.Context) error { _, err := d.CreateUser(c, "t", store.User{Email: "a@b"}); return err },
		"UserByEmail":   func(c context.Context) error { _, err := d.UserByEmail(c, "x"); return err },
		"SetPassword":   func(c context.Context) error { return d.SetPassword(c, "t", 1, "x") },
		"CreateSession": func(c context.Context) error { return d.CreateSession(c, [32]byte{}, 1, time.Hour) },
		"SessionUser":   func(c context.Context) error { _, err := d.SessionUser(c, [32]byte{}); return err },
		"TrySignIn":     func(c context.Context) error { _, _, err := d.TrySignIn(c, [32]byte{}, time.Minute); return err },
		"SignedIn":      func(c context.Context) error { return d.SignedIn(c, [32]byte{}, [32]byte{}) },
		"ExpireSignIns": func(c context.Context) error { _, _, err := d.ExpireSignIns(c, time.Minute); return err },
		"EndSession":    func(c context.Context) error { return d.EndSession(c, [32]byte{}) },
		"Sessions":      func(c context.Context) error { _, err := d.Sessions(c, 1); return err },
		"EndSessionOf":  func(c context.Context) error { return d.EndSessionOf(c, 1, 1) },
		"EndOthers":     func(c context.Context) error { return d.EndOtherSessions(c, 1, [32]byte{}) },
		"Describe":      func(c context.Context) error { return d.DescribeSession(c, [32]byte{}, "", "") },
		"OffRoutes":     func(c context.Context) error { _, err := d.OffRoutes(c, 0); return err },
		"RouteModel":    func(c context.Context) error { _, err := d.RouteModel(c, 1); return err },
		"LoadModel":     func(c context.Context) error { _, err := d.LoadModel(c, "m"); return err },
		"Usage": func(c context.Context) error {
			_, err := d.Usage(c, store.UsageFilter{All: true, Refusals: true})
			return err
		},
		"Hourly":   func(c context.Context) error { _, err := d.Hourly(c, store.HourlyFilter{}); return err },
		"Rollup":   func(c context.Context) error { _, err := d.Rollup(c, store.RollupFilter{}); return err },
		"CodeSums": func(c context.Context) error { _, err := d.CodeSums(c, store.HourlyFilter{}, 1); return err },
		"KeyNames": func(c context.Context) error { _, err := d.KeyNames(c, []int64{1}); return err },
		"Codes":    func(c context.Context) error { _, err := d.Codes(c, store.HourlyFilter{}); return err },
		"CreateConversation": func(c context.Context) error {
			_, err := d.CreateConversation(c, &store.Conversation{ID: rec.ID})
			return err
		},
		"Conversation":  func(c context.Context) error { _, err := d.Conversation(c, 1, rec.ID); return err },
		"Conversations": func(c context.Context) error { _, err := d.Conversations(c, 1, false, rec.ID, 1); return err },
		"UpdateConversation": func(c context.Context) error {
			_, err := d.UpdateConversation(c, 1, rec.ID, store.ConversationPatch{})
			return err
		},
		"ArchiveConversation": func(c context.Context) error {
			_, err := d.ArchiveConversation(c, 1, rec.ID, time.Now())
			return err
		},
		"Policy":      func(c context.Context) error { _, err := d.Policy(c, 1); return err },
		"PatchPolicy": func(c context.Context) error { _, err := d.PatchPolicy(c, "t", 1, store.PolicyPatch{}); return err },
		"AuditLog":    func(c context.Context) error { _, err := d.AuditLog(c, store.AuditFilter{Limit: 1}); return err },
		"Setting":     func(c context.Context) error { _, err := d.Setting(c, "x"); return err },
		"SetSetting":  func(c context.Context) error { return d.SetSetting(c, "t", "x", []byte("1")) },
		"Locked": func(c context.Context) error {
			_, err := d.Locked(c, "x", func(context.Context) error { return nil })
			return err
		},
	}
}

// ownServer is a server that a test may hurt.
func ownServer(t *testing.T) *embedpg.Server {
	t.Helper()
	s, err := embedpg.Start(t.Context(), embedpg.Options{Dir: t.TempDir(), Throwaway: true, Install: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { s.Resume(); s.StopNow() })
	if err := store.Migrate(t.Context(), s.URL("")); err != nil {
		t.Fatal(err)
	}
	return s
}

// B5: with a Postgres that accepts and answers nothing, every call ends within its
// timeout and says that Postgres is away, whether it has a connection or needs one.
func TestEveryCallEndsWhenPostgresHangs(t *testing.T) {
	s := ownServer(t)
	d, err := store.Open(t.Context(), s.URL(""), store.Options{Timeout: 300 * time.Millisecond, Pool: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	if err := d.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Pause()
	var group sync.WaitGroup
	for name, call := range calls(d) {
		group.Go(func() {
			start := time.Now()
			err := call(context.Background())
			if took := time.Since(start); took > 2*time.Second {
				t.Errorf("%s took %s", name, took)
			}
			if !store.Unavailable(err) {
				t.Errorf("%s: %v", name, err)
			}
		})
	}
	group.Wait()
	s.Resume()
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if err := d.Ping(t.Context()); err == nil {
			break
		} else if time.Now().After(end) {
			t.Fatalf("never came back: %v", err)
		}
	}
}

// B1, B10: after kill -9 of Postgres, calls fail as unavailable at once, what was
// committed is there after the restart, and the pool finds its way back by itself.
func TestPostgresKilled(t *testing.T) {
	s := ownServer(t)
	d, err := store.Open(t.Context(), s.URL(""), store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	c, err := d.CreateClient(t.Context(), "t", store.NewClient{Name: "x", Credit: money.USD})
	if err != nil {
		t.Fatal(err)
	}
	listening := make(chan struct{})
	heard := make(chan error, 1)
	go func() { heard <- d.Listen(context.Background(), func() { close(listening) }, func(string, string) {}) }()
	<-listening
	if err := s.Kill(); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-heard:
		if !store.Unavailable(err) {
			t.Errorf("listen: %v", err)
		}
	case <-time.After(3 * time.Second):
		t.Error("listen does not notice")
	}
	for name, call := range calls(d) {
		start := time.Now()
		if err := call(context.Background()); !store.Unavailable(err) {
			t.Errorf("%s: %v", name, err)
		}
		if took := time.Since(start); took > time.Second {
			t.Errorf("%s took %s", name, took)
		}
	}
	if err := s.Restart(t.Context()); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		w, err := d.WalletBalance(t.Context(), c.WalletID)
		if err == nil {
			if w.Balance != money.USD {
				t.Errorf("%+v", w)
			}
			break
		}
		if time.Now().After(end) {
			t.Fatalf("never came back: %v", err)
		}
	}
}

// A refusal is never taken for an outage, nor the other way round.
func TestUnavailable(t *testing.T) {
	for _, err := range []error{nil, store.ErrNotFound, store.ErrFenced, store.ErrInsufficient, context.Canceled, errors.New("x")} {
		if store.Unavailable(err) {
			t.Errorf("%v counts as an outage", err)
		}
	}
	if _, err := store.Open(t.Context(), "not a url://", store.Options{}); err == nil || store.Unavailable(err) {
		t.Errorf("a bad URL: %v", err)
	}
	d, err := store.Open(t.Context(), "postgres://x:canary@127.0.0.1:1/x", store.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	if err := d.Ping(t.Context()); !store.Unavailable(err) {
		t.Errorf("nobody listens: %v", err)
	}
}
