package main

import (
	"bufio"
	"encoding/json"
	"net/http"
	"slices"

	"tokenrelay/proxy/lease"
	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/money"
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

// heldLooks is how often the two counts of held money are compared before they are told
// as they are: a request that begins or ends between them makes them differ.
const heldLooks = 5

// held is what the leases say of themselves, and what the running requests hold of each
// by their in-flight slots (M6).
func (p *process) held() (list []lease.State, running map[int64]money.Amount) {
	for range heldLooks {
		list, running = p.leases.Leases(), map[int64]money.Amount{}
		p.journal.Flights().Running(func(r *usage.Record) {
			for _, id := range [...]int64{r.WalletLease, r.MonthLease, r.TotalLease} {
				if id != 0 {
					running[id] += r.Hold
				}
			}
		})
		if !slices.ContainsFunc(list, func(l lease.State) bool { return l.Held != running[l.ID] }) {
			break
		}
	}
	return list, running
}

func (p *process) debugLeases(w http.ResponseWriter, _ *http.Request) {
	list, running := p.held()
	out := proof.Leases{Proxy: p.name(), Slot: p.slot.ID, Epoch: p.slot.Epoch, Lag: p.journal.Lag(), Leases: make([]proof.Lease, len(list))}
	for i, l := range list {
		out.Leases[i] = proof.Lease{
			ID: l.ID, WalletID: l.WalletID, KeyID: l.KeyID, Period: l.Period, Granted: l.Granted, Returned: l.Returned,
			Returning: l.Returning, Spent: l.Spent, Free: l.Free, Held: l.Held, Running: new(money.Amount),
		}
		*out.Leases[i].Running = running[l.ID]
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
