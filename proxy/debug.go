package main

import (
	"bufio"
	"encoding/json"
	"net/http"

	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/proof"
	"tokenrelay/shared/usage"
)

// debug serves what audits ask (M6, M16).
func (p *process) debug(mux *http.ServeMux) {
	mux.HandleFunc("GET "+proof.LeasesPath, p.whenWired(p.debugLeases))
	mux.HandleFunc("GET "+proof.JournalPath, p.whenWired(p.debugJournal))
}

// whenWired answers 503 until the parts are there.
func (p *process) whenWired(h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if !p.wired.Load() {
			http.Error(w, "the proxy is starting", http.StatusServiceUnavailable)
			return
		}
		h(w, r)
	}
}

func (p *process) debugLeases(w http.ResponseWriter, _ *http.Request) {
	list := p.leases.Leases()
	out := proof.Leases{Proxy: p.name(), Slot: p.slot.ID, Epoch: p.slot.Epoch, Lag: p.journal.Lag(), Leases: make([]proof.Lease, len(list))}
	for i, l := range list {
		out.Leases[i] = proof.Lease{
			ID: l.ID, WalletID: l.WalletID, KeyID: l.KeyID, Period: l.Period, Granted: l.Granted, Returned: l.Returned,
			Returning: l.Returning, Spent: l.Spent, Free: l.Free, Held: l.Held,
		}
	}
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(out)
}

// debugJournal reads the journal's files beside the running journal.
func (p *process) debugJournal(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	out := bufio.NewWriterSize(w, 64<<10)
	e := json.NewEncoder(out)
	report, err := journalfile.Read(p.journal.Folder(), func(x *journalfile.Entry) error {
		if err := r.Context().Err(); err != nil {
			return err
		}
		return e.Encode(proof.Offer{ID: x.Record.ID, Charge: x.Record.Charge, Acked: x.Acked, Refused: x.Record.Status == usage.Refused})
	})
	if err != nil {
		p.log.Warn("the journal could not be read for an audit", "error", err)
		return // without the last line
	}
	end := proof.Offer{End: true}
	for _, problem := range report.Problems {
		end.Problems = append(end.Problems, problem.Error())
	}
	_ = e.Encode(end)
	_ = out.Flush()
}
