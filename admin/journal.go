package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"tokenrelay/shared/journalfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
	"tokenrelay/shared/usage"
)

// journalResult is what verify and salvage print.
type journalResult struct {
	Folder       string       `json:"folder"`
	Proxy        string       `json:"proxy"`
	Whole        bool         `json:"whole"`
	Problems     []string     `json:"problems"` // each with file and place
	Segments     int          `json:"segments"`
	Records      int64        `json:"records"`
	Charges      money.Amount `json:"charges"`
	Pending      int64        `json:"pending"`       // not yet acknowledged by Postgres
	Owing        money.Amount `json:"owing"`         // their charges, in-flight slots included
	BehindDamage int64        `json:"behind_damage"` // of records: a proxy would not have read them
	Missing      int64        `json:"missing"`       // record numbers that are nowhere
	Interrupted  int64        `json:"interrupted"`   // in-flight slots of a dead process that owe something
	Running      bool         `json:"running"`       // a proxy has the folder
	TornFile     string       `json:"torn_file,omitempty"`
	TornOffset   int64        `json:"torn_offset,omitempty"`
	TornBytes    int64        `json:"torn_bytes,omitempty"`

	Saved   int64       `json:"saved,omitempty"`   // salvage: lines written
	Shipped *shipResult `json:"shipped,omitempty"` // salvage --ship
	Out     string      `json:"out,omitempty"`
}

// shipResult says what salvage --ship brought into the books.
type shipResult struct {
	Inserted   int          `json:"inserted"`
	Duplicates int          `json:"duplicates"` // were there already
	Refusals   int          `json:"refusals"`
	Late       int          `json:"late"` // of inserted: the lease was closed
	Rejected   int          `json:"rejected"`
	Charged    money.Amount `json:"charged"`
	BadDebt    money.Amount `json:"bad_debt"`
}

func viewJournal(r *journalfile.Report) *journalResult {
	v := &journalResult{
		Folder: r.Folder, Proxy: r.Name, Whole: r.Whole(), Problems: []string{}, Segments: r.Segments, Records: r.Records, Charges: r.Charge,
		Pending: r.Pending, Owing: r.Owing, BehindDamage: r.Behind, Missing: r.Missing, Interrupted: r.Flights, Running: r.Running,
		TornFile: r.TornFile, TornOffset: r.TornAt, TornBytes: r.TornBytes,
	}
	for _, p := range r.Problems {
		v.Problems = append(v.Problems, p.Error())
	}
	return v
}

func (v *journalResult) print(w io.Writer) {
	_, _ = fmt.Fprintf(w, "Journal of %s in %s\n", v.Proxy, v.Folder)
	_, _ = fmt.Fprintf(w, "%d segments, %d records, charges %s USD; %d not yet acknowledged, owing %s USD\n", v.Segments, v.Records, v.Charges, v.Pending, v.Owing)
	if v.Interrupted > 0 {
		_, _ = fmt.Fprintf(w, "%d requests were running when the proxy died; the next start charges what they had relayed\n", v.Interrupted)
	}
	if v.TornBytes > 0 {
		_, _ = fmt.Fprintf(w, "%s ends in %d unfinished bytes at offset %d, the trace of a crash; the next start cuts them\n", v.TornFile, v.TornBytes, v.TornOffset)
	}
	for _, p := range v.Problems {
		_, _ = fmt.Fprintf(w, "DAMAGE %s\n", p)
	}
	if !v.Whole {
		_, _ = fmt.Fprintf(w, "%d good records lie behind damage, %d records are nowhere\n", v.BehindDamage, v.Missing)
	}
	if s := v.Shipped; s != nil {
		_, _ = fmt.Fprintf(w, "Booked %d records (%d late), %s USD, bad debt %s USD; %d were booked already, %d set aside\n",
			s.Inserted, s.Late, s.Charged, s.BadDebt, s.Duplicates, s.Rejected)
	}
	if v.Out != "" {
		_, _ = fmt.Fprintf(w, "Wrote %d records to %s\n", v.Saved, v.Out)
	}
	if v.Whole {
		_, _ = fmt.Fprintln(w, "The journal is whole.")
	}
}

// journalVerify reads a journal: exit 0 whole, 1 damaged, 2 could not be read.
func journalVerify(_ context.Context, p *process, usage string, args []string) error {
	s := newFileSettings(usage)
	rest, err := s.parse(p, args, "DIR")
	if err != nil {
		return err
	}
	r, err := journalfile.Read(rest[0], nil)
	if err != nil {
		return &exit{code: exitUsage, err: err}
	}
	v := viewJournal(r)
	if err := s.print(p, v, v.print); err != nil {
		return err
	}
	if !v.Whole {
		return &exit{code: exitFailed}
	}
	return nil
}

// saved is one line of salvage --out.
type saved struct {
	RequestID string       `json:"request_id"`
	File      string       `json:"file"`
	Seq       uint64       `json:"seq,omitempty"`
	Acked     bool         `json:"acked"`
	Behind    bool         `json:"behind_damage,omitempty"`
	Flight    bool         `json:"in_flight,omitempty"`
	Charge    money.Amount `json:"charge"`
	Record    usage.Record `json:"record"` // to read
	Raw       []byte       `json:"raw"`    // the record's bytes, base64
}

// journalSalvage keeps what is good of a journal: as lines of a file, and, with
// --ship, in the books, where each request is booked once however often it comes.
func journalSalvage(ctx context.Context, p *process, usageText string, args []string) error {
	s := newSettings(usageText)
	var out string
	var ship bool
	s.set.String(&out, "out", "", "write the good records here, one JSON line each; the file must not exist")
	s.set.Bool(&ship, "ship", "off", "book the good records in Postgres, each once")
	rest, err := s.parse(p, args, "DIR")
	if err != nil {
		return err
	}
	if out == "" && !ship {
		return usageError("nothing to do: give --out FILE, --ship, or both")
	}
	var steps []func(*journalfile.Entry) error
	var finish []func() error
	written := int64(0)
	if out != "" {
		f, err := os.OpenFile(out, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return &exit{code: exitUsage, err: fmt.Errorf("cannot write the good records: %w", err)}
		}
		defer func() { _ = f.Close() }()
		w := bufio.NewWriterSize(f, 1<<20)
		e := json.NewEncoder(w)
		steps = append(steps, func(x *journalfile.Entry) error {
			written++
			return e.Encode(saved{
				RequestID: x.Record.ID.String(), File: x.File, Seq: x.Seq, Acked: x.Acked, Behind: x.Behind, Flight: x.Flight,
				Charge: x.Record.Charge, Record: x.Record, Raw: journalfile.AppendRecord(nil, &x.Record),
			})
		})
		finish = append(finish, func() error { return errors.Join(w.Flush(), f.Sync(), f.Close()) })
	}
	var booked *shipResult
	if ship {
		db, err := s.open(ctx)
		if err != nil {
			return err
		}
		defer db.Close()
		b := &booker{ctx: ctx, db: db, waiting: map[int16][]usage.Record{}}
		booked = &b.result
		steps = append(steps, b.add)
		finish = append(finish, b.flush)
	}
	r, err := journalfile.Read(rest[0], func(e *journalfile.Entry) error {
		for _, f := range steps {
			if err := f(e); err != nil {
				return err
			}
		}
		return nil
	})
	for _, f := range finish {
		err = errors.Join(err, f())
	}
	if err != nil {
		return &exit{code: exitUsage, err: fmt.Errorf("could not save everything: %w", err)}
	}
	v := viewJournal(r)
	v.Shipped, v.Out, v.Saved = booked, out, written
	if err := s.print(p, v, v.print); err != nil {
		return err
	}
	if !v.Whole {
		return &exit{code: exitFailed}
	}
	return nil
}

// booker settles records, in batches for each proxy slot.
type booker struct {
	ctx     context.Context
	db      *store.DB
	waiting map[int16][]usage.Record
	result  shipResult
}

func (b *booker) add(e *journalfile.Entry) error {
	slot := e.Slot
	b.waiting[slot] = append(b.waiting[slot], e.Record)
	if len(b.waiting[slot]) < store.MaxBatch/4 {
		return nil
	}
	return b.settle(slot)
}

func (b *booker) settle(slot int16) error {
	recs := b.waiting[slot]
	b.waiting[slot] = nil
	if len(recs) == 0 {
		return nil
	}
	res, err := b.db.SettleBatch(b.ctx, slot, recs)
	for attempt := 0; err != nil && store.Unavailable(err) && attempt < 5; attempt++ {
		t := time.NewTimer(time.Second)
		select {
		case <-t.C:
		case <-b.ctx.Done():
			t.Stop()
			return b.ctx.Err()
		}
		res, err = b.db.SettleBatch(b.ctx, slot, recs)
	}
	if err != nil {
		return err
	}
	b.result.Inserted += res.Inserted
	b.result.Duplicates += res.Duplicates
	b.result.Refusals += res.Refusals
	b.result.Late += res.Late
	b.result.Rejected += len(res.Rejected)
	b.result.Charged += res.Charged
	b.result.BadDebt += res.BadDebt
	return nil
}

func (b *booker) flush() error {
	for slot := range b.waiting {
		if err := b.settle(slot); err != nil {
			return err
		}
	}
	return nil
}
