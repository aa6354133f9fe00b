package ship

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"tokenrelay/proxy/journal"
	"tokenrelay/shared/usage"
)

// Dead is a line of the dead file: a record that Postgres refused for ever, so
// that it would have stopped all others. A person decides about it.
type Dead struct {
	At        time.Time    `json:"at"`
	Error     string       `json:"error"`
	RequestID string       `json:"request_id"`
	Record    usage.Record `json:"record"` // to read
	Raw       []byte       `json:"raw"`    // journal.AppendRecord's bytes, base64: to book it later
}

// bury puts a record aside. It is on the disk when bury returns nil, so that it
// may be acknowledged.
func (s *Shipper) bury(rec *usage.Record, cause error) error {
	line, err := json.Marshal(Dead{
		At: time.Now().UTC(), Error: cause.Error(), RequestID: rec.ID.String(), Record: *rec, Raw: journal.AppendRecord(nil, rec),
	})
	if err != nil {
		return fmt.Errorf("cannot write dead record: %w", err)
	}
	f, err := os.OpenFile(s.o.DeadPath, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("cannot write dead record: %w", err)
	}
	_, err = f.Write(append(line, '\n'))
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("cannot write dead record: %w", err)
	}
	s.m.dead.Inc()
	s.o.Log.Error("Postgres refuses a usage record for ever, it is put aside and NOT BILLED",
		"request", rec.ID.String(), "wallet", rec.WalletID, "charge", rec.Charge.String(), "file", s.o.DeadPath, "error", cause)
	return nil
}
