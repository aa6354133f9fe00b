package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/proof"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// ledgerWorld is a priced model, a customer, a proxy with a lease, and calls that its
// journal holds.
type ledgerWorld struct {
	*shell
	db    *store.DB
	slot  store.ProxySlot
	lease int64
	grant store.Grant
	calls []usage.Record
}

func newLedgerWorld(t *testing.T, internalURL string) *ledgerWorld {
	t.Helper()
	url := pgtest.New(t)
	w := &ledgerWorld{shell: newShell(t, url)}
	w.env = append(w.env, "DEMO_SECRET=x", "ABSENT_SECRET=y")
	w.ok(nil, "apply", writeFile(t, "c.yaml", catalogue))
	w.ok(nil, "client", "create", "acme", "--credit", "10")
	w.ok(nil, "key", "create", "--client", "acme", "--name", "k")
	ctx := t.Context()
	var err error
	if w.db, err = store.Open(ctx, url, store.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.db.Close)
	c, err := w.db.ClientByName(ctx, "acme")
	if err != nil {
		t.Fatal(err)
	}
	keys, err := w.db.ListKeys(ctx, c.ID, 0, 1)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := w.db.LoadCatalog(ctx)
	if err != nil {
		t.Fatal(err)
	}
	v := rows.Prices[0].Version
	if w.slot, err = w.db.ClaimSlot(ctx, "p1", strings.Repeat("ab", 16), internalURL); err != nil {
		t.Fatal(err)
	}
	w.lease = store.LeaseID(w.slot.ID, w.slot.Epoch, 1)
	if w.grant, err = w.db.Grant(ctx, store.GrantRequest{
		Slot: w.slot.ID, Epoch: w.slot.Epoch, LeaseID: w.lease, Seq: 1, Escrow: store.Escrow{WalletID: c.WalletID}, Need: money.USD, Target: money.USD,
	}); err != nil {
		t.Fatal(err)
	}
	rule := price.Rule{Version: &v, ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM}
	for i := range 9 {
		r := usage.Record{
			ID: reqid.New(time.Now()), ProxySlot: w.slot.ID, ClientID: c.ID, WalletID: c.WalletID, KeyID: keys[0].ID, Model: "alpha", RequestedModel: "alpha",
			Status: usage.Success, HTTPStatus: 200, Source: usage.SourceReported, PriceID: v.ID, ModelPPM: price.PPM, GroupPPM: price.PPM, ClientPPM: price.PPM,
			WalletLease: w.lease, AdmittedMicros: time.Now().UnixMicro(), EndMicros: time.Now().UnixMicro() + 1000, NumAttempts: 1,
		}
		r.Units[usage.Input], r.Units[usage.Output] = int64(100+i), int64(10*i)
		if r.Charge, err = rule.Charge(&r.Units); err != nil {
			t.Fatal(err)
		}
		r.Hold = 2 * r.Charge
		w.calls = append(w.calls, r)
	}
	return w
}

// journal writes the calls as a proxy's journal, three to a segment, acked up to a record.
func (w *ledgerWorld) journal(acked uint64) string {
	w.t.Helper()
	dir := w.t.TempDir()
	sub := filepath.Join(dir, journalfile.Subdir)
	if err := os.MkdirAll(sub, 0o700); err != nil {
		w.t.Fatal(err)
	}
	write := func(name string, b []byte) {
		w.t.Helper()
		if err := os.WriteFile(filepath.Join(sub, name), b, 0o600); err != nil {
			w.t.Fatal(err)
		}
	}
	var jid [16]byte
	for i := range jid {
		jid[i] = 0xab
	}
	write("identity", []byte("token relay proxy\njournal "+strings.Repeat("ab", 16)+"\nname p1\n"))
	prev := journalfile.Header{}
	prevHash := uint64(0)
	for n := range 3 {
		h := journalfile.Header{Slot: w.slot.ID, Epoch: w.slot.Epoch, Number: uint64(n + 1), FirstSeq: uint64(3*n + 1), PrevNumber: prev.Number, PrevHash: prevHash, JournalID: jid}
		b := h.Append(nil)
		for i := range 3 {
			frame := journalfile.AppendRecord(make([]byte, journalfile.FrameHead), &w.calls[3*n+i])
			b = append(b, journalfile.FinishFrame(frame, journalfile.TypeUsage, uint64(3*n+i+1), 0)...)
		}
		prev, prevHash = h, journalfile.HashOf(b)
		write(journalfile.SegName(h.Number), journalfile.AppendSeal(b, prevHash, 3, uint64(3*n+3)))
	}
	ack := make([]byte, 2*journalfile.AckStride)
	copy(ack[journalfile.AckStride:], journalfile.AppendAck(nil, journalfile.Position{Segment: 1, Offset: journalfile.HeaderSize, Seq: acked}, 1))
	write("ack", ack)
	return dir
}

// admin journal verify names damage; salvage keeps the rest and books each record once.
func TestJournalVerifyAndSalvageA6(t *testing.T) {
	w := newLedgerWorld(t, "http://127.0.0.1:9")
	dir := w.journal(0)
	var sum money.Amount
	for i := range w.calls {
		sum += w.calls[i].Charge
	}
	var v journalResult
	w.ok(&v, "journal", "verify", dir)
	if !v.Whole || v.Records != 9 || v.Charges != sum || v.Pending != 9 || v.Segments != 3 {
		t.Fatalf("%+v", v)
	}
	w.refused(2, "no journal", "journal", "verify", t.TempDir())
	w.refused(2, "nothing to do", "journal", "salvage", dir)

	path := filepath.Join(dir, journalfile.Subdir, journalfile.SegName(2))
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	b[journalfile.HeaderSize+60] ^= 1 // inside record 4
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
	code, stdout, _ := w.run("", "journal", "verify", dir, "--json")
	if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 1 {
		t.Fatalf("exit %d %s %v", code, stdout, err)
	}
	if v.Whole || v.Records != 8 || v.Missing != 1 || v.BehindDamage != 2 || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], path+" at offset 96") {
		t.Errorf("%+v", v)
	}
	out := filepath.Join(t.TempDir(), "good.jsonl")
	for i, want := range []shipResult{{Inserted: 8}, {Duplicates: 8}} {
		args := []string{"journal", "salvage", dir, "--ship", "--json"}
		if i == 0 {
			args = append(args, "--out", out)
		}
		code, stdout, stderr := w.run("", args...)
		v = journalResult{}
		if err := json.Unmarshal([]byte(stdout), &v); err != nil || code != 1 {
			t.Fatalf("exit %d %s %s %v", code, stdout, stderr, err)
		}
		if v.Shipped == nil || v.Shipped.Inserted != want.Inserted || v.Shipped.Duplicates != want.Duplicates || v.Shipped.Late != 0 {
			t.Errorf("round %d: %+v", i, v.Shipped)
		}
	}
	text, err := os.ReadFile(out)
	if err != nil || strings.Count(string(text), "\n") != 8 {
		t.Errorf("%d lines, %v", strings.Count(string(text), "\n"), err)
	}
	var first saved
	var rec usage.Record
	if err := json.Unmarshal([]byte(strings.SplitN(string(text), "\n", 2)[0]), &first); err != nil || journalfile.DecodeRecord(first.Raw, &rec) != nil || rec != w.calls[0] {
		t.Errorf("the first line: %+v, %v", first, err)
	}
	w.ok(nil, "audit", "--deep")
}

// M16: what journals hold is in the books, or named.
func TestAuditJournalsM16(t *testing.T) {
	w := newLedgerWorld(t, "http://127.0.0.1:9")
	if _, err := w.db.SettleBatch(t.Context(), w.slot.ID, w.calls[:5]); err != nil {
		t.Fatal(err)
	}
	line := func(dir string, code int) (*report.AuditLine, *report.Audit) {
		t.Helper()
		got, stdout, stderr := w.run("", "audit", "--json", "--journals", dir)
		var a report.Audit
		if err := json.Unmarshal([]byte(stdout), &a); err != nil || got != code {
			t.Fatalf("exit %d, want %d: %s %s", got, code, stdout, stderr)
		}
		for i := range a.Lines {
			if a.Lines[i].ID == "M16" {
				return &a.Lines[i], &a
			}
		}
		t.Fatal("no M16")
		return nil, nil
	}
	l, a := line(w.journal(5), 0)
	if l.Checked != 9 || a.Held == nil || a.Held.Records != 4 || a.Held.Unflushed != w.calls[5].Charge+w.calls[6].Charge+w.calls[7].Charge+w.calls[8].Charge {
		t.Errorf("%+v %+v", l, a.Held)
	}
	if l, _ = line(w.journal(6), 1); l.Broken != 1 || !strings.Contains(l.Samples[0], w.calls[5].ID.String()) {
		t.Errorf("acknowledged and not there: %+v", l)
	}
	w.calls[2].Charge++
	if l, _ = line(w.journal(5), 1); l.Broken != 1 || l.Worst != 1 {
		t.Errorf("another charge: %+v", l)
	}
	w.refused(2, "could not check", "audit", "--journals", t.TempDir())
}

// M6: leases are compared with what their proxies say; what they say is the honest part
// of a strict audit.
func TestAuditAsksProxiesM6(t *testing.T) {
	said := proof.Lease{}
	var w *ledgerWorld
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case proof.LeasesPath:
			_ = json.NewEncoder(rw).Encode(proof.Leases{Slot: w.slot.ID, Epoch: w.slot.Epoch, Leases: []proof.Lease{said}})
		case proof.JournalPath:
			for i := range w.calls {
				_ = json.NewEncoder(rw).Encode(proof.Offer{ID: w.calls[i].ID, Charge: w.calls[i].Charge, Acked: i < 5})
			}
			_ = json.NewEncoder(rw).Encode(proof.Offer{End: true})
		default:
			http.NotFound(rw, r)
		}
	}))
	defer server.Close()
	w = newLedgerWorld(t, server.URL)
	if _, err := w.db.SettleBatch(t.Context(), w.slot.ID, w.calls[:5]); err != nil {
		t.Fatal(err)
	}
	var settled, spent money.Amount
	for i := range w.calls {
		spent += w.calls[i].Charge
		if i < 5 {
			settled += w.calls[i].Charge
		}
	}
	right := proof.Lease{ID: w.lease, WalletID: w.calls[0].WalletID, Granted: w.grant.Granted, Spent: spent, Held: 700, Free: w.grant.Granted - spent - 700}
	said = right
	ask := func(code int, args ...string) *report.Audit {
		t.Helper()
		got, stdout, stderr := w.run("", append([]string{"audit", "--strict", "--json"}, args...)...)
		var a report.Audit
		if err := json.Unmarshal([]byte(stdout), &a); err != nil || got != code {
			t.Fatalf("exit %d, want %d: %s %s", got, code, stdout, stderr)
		}
		return &a
	}
	a := ask(0)
	if a.Held.InFlight != 700 || a.Held.Unflushed != spent-settled || a.Held.Proxies != 1 || a.Held.Free != right.Free {
		t.Errorf("%+v", a.Held)
	}
	if a = ask(0, "--journals", "proxies"); a.Held.Unflushed != spent-settled || a.Held.Records != 4 {
		t.Errorf("with journals: %+v", a.Held)
	}
	running := right.Held
	said.Running = &running
	ask(0)
	for name, change := range map[string]func(l *proof.Lease){
		"granted":  func(l *proof.Lease) { l.Granted++ },
		"returned": func(l *proof.Lease) { l.Returned++ },
		"spent":    func(l *proof.Lease) { l.Spent = settled - 1 },
		"free":     func(l *proof.Lease) { l.Free = -1 },
		"unknown":  func(l *proof.Lease) { l.ID++ },
		"running":  func(l *proof.Lease) { *l.Running-- },
	} {
		said = right
		running := said.Held
		said.Running = &running
		change(&said)
		if a := ask(1); !strings.Contains(fmt.Sprint(a.Lines), "M6") {
			t.Errorf("%s: %+v", name, a.Lines)
		}
	}
	server.Close()
	if a = ask(0); len(a.Held.Silent) != 1 || a.Held.Unasked != w.grant.Granted-settled {
		t.Errorf("a silent proxy: %+v", a.Held)
	}
	if code, _, stderr := w.run("", "audit", "--journals", "proxies"); code != 2 || !strings.Contains(stderr, "p1") {
		t.Errorf("journals of a silent proxy: exit %d %s", code, stderr)
	}
}
