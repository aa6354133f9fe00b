package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/money"
	"tokenrelay/shared/store/db"
)

// maxEpoch is what fits into a lease id.
const maxEpoch = 1<<25 - 1

// ClaimSlot takes the slot of a proxy name and begins its next epoch, which fences
// every earlier process of that name from grants and renewals. A live proxy of the
// same name with another journal is ErrSlotTaken.
func (d *DB) ClaimSlot(ctx context.Context, name, journalID, internalURL string) (ProxySlot, error) {
	var s ProxySlot
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		old, err := q.SlotByName(ctx, LiveWindow, name)
		if errors.Is(err, pgx.ErrNoRows) {
			// Slot numbers are handed out one at a time.
			if _, err := tx.Exec(ctx, "LOCK TABLE proxy_slot IN SHARE ROW EXCLUSIVE MODE"); err != nil {
				return err
			}
			id, err := q.FreeSlot(ctx)
			if err != nil {
				return err
			}
			if id == 0 {
				return fmt.Errorf("%w: all 4095 proxy slots are taken", ErrConflict)
			}
			s = ProxySlot{ID: id, Epoch: 1}
			return meaning(q.InsertSlot(ctx, db.InsertSlotParams{RowID: id, Name: name, JournalID: journalID, InternalUrl: internalURL}))
		}
		if err != nil {
			return err
		}
		if old.Live && old.JournalID != journalID {
			return ErrSlotTaken
		}
		if old.Epoch >= maxEpoch {
			return fmt.Errorf("%w: the slot has used up its epochs, use another proxy name", ErrConflict)
		}
		epoch, err := q.ReclaimSlot(ctx, journalID, internalURL, old.ID)
		s = ProxySlot{ID: old.ID, Epoch: epoch}
		return meaning(err)
	})
	if err != nil {
		return ProxySlot{}, fmt.Errorf("cannot claim the proxy slot %q: %w", name, err)
	}
	return s, nil
}

// Heartbeat tells that the proxy lives and which revision it applied.
func (d *DB) Heartbeat(ctx context.Context, slot int16, epoch, appliedRev int64) (Beat, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	var b Beat
	h, err := d.q.Heartbeat(ctx, db.HeartbeatParams{Applied: appliedRev, Slot: slot, Epoch: epoch, LiveWindow: LiveWindow})
	if errors.Is(err, pgx.ErrNoRows) {
		err = ErrFenced
	}
	if err != nil {
		return b, fmt.Errorf("cannot send a heartbeat: %w", err)
	}
	b = Beat{Now: h.Now, Live: int(h.Live), Revision: h.Rev}
	recalls, err := d.q.Recalls(ctx, slot, epoch)
	if err != nil {
		return b, fmt.Errorf("cannot read the recalls: %w", err)
	}
	for _, r := range recalls {
		b.Recalls = append(b.Recalls, Recall{Escrow: escrowOf(r.WalletID, r.KeyID, r.Period), Number: r.Recall})
	}
	return b, nil
}

// ReportReserved replaces what the proxy holds for running requests, by wallet;
// wallets left out count 0. What customers see as reserved (interface 8).
func (d *DB) ReportReserved(ctx context.Context, slot int16, epoch int64, holds map[int64]money.Amount) error {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		if err := fence(ctx, q, slot, epoch); err != nil {
			return err
		}
		wallets, amounts := make([]int64, 0, len(holds)), make([]int64, 0, len(holds))
		for w, a := range holds {
			wallets, amounts = append(wallets, w), append(amounts, int64(a))
		}
		if err := q.DeleteReserved(ctx, slot, wallets); err != nil {
			return err
		}
		return q.UpsertReserved(ctx, slot, wallets, amounts)
	})
	if err != nil {
		return fmt.Errorf("cannot report what is reserved: %w", err)
	}
	return nil
}

// CloseSlot says that the proxy stopped in order. Its leases must be returned.
func (d *DB) CloseSlot(ctx context.Context, slot int16, epoch int64) error {
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		n, err := q.CloseSlot(ctx, slot, epoch)
		if err == nil && n == 0 {
			return ErrFenced
		}
		if err != nil {
			return err
		}
		return q.DeleteReserved(ctx, slot, []int64{})
	})
	if err != nil {
		return fmt.Errorf("cannot close the proxy slot: %w", err)
	}
	return nil
}

// ProxyLost declares a proxy dead for good: fences it and closes its leases now. What
// its journal still holds is charged on the late path if it is ever found.
func (d *DB) ProxyLost(ctx context.Context, actor Actor, name string) (Closed, error) {
	var slot int16
	var epoch int64
	err := d.tx(ctx, func(ctx context.Context, tx pgx.Tx, q *db.Queries) error {
		s, err := q.SlotByName(ctx, LiveWindow, name)
		if err != nil {
			return meaning(err)
		}
		slot, epoch = s.ID, s.Epoch
		if s.State != "lost" {
			if _, err := q.LoseSlot(ctx, slot); err != nil {
				return meaning(err)
			}
			epoch++
		}
		if err := q.DeleteReserved(ctx, slot, []int64{}); err != nil {
			return err
		}
		return audit(ctx, q, actor, "lost", "proxy", name, nil, 0)
	})
	if err != nil {
		return Closed{}, fmt.Errorf("cannot declare proxy %q lost: %w", name, err)
	}
	// Fenced: no lease of the slot can be opened any more.
	c, err := d.closeLeases(ctx, db.LeasesToCloseParams{Slot: slot, Epoch: epoch})
	if err != nil {
		return c, fmt.Errorf("cannot close the leases of proxy %q: %w", name, err)
	}
	return c, nil
}

// Proxies lists the proxy slots.
func (d *DB) Proxies(ctx context.Context) ([]ProxyRow, error) {
	ctx, cancel := d.limit(ctx)
	defer cancel()
	rows, err := d.q.Proxies(ctx, LiveWindow)
	if err != nil {
		return nil, fmt.Errorf("cannot list the proxies: %w", err)
	}
	proxies := make([]ProxyRow, len(rows))
	for i, r := range rows {
		proxies[i] = ProxyRow{
			ProxySlot: ProxySlot{ID: r.ID, Epoch: r.Epoch}, Name: r.Name, JournalID: r.JournalID, InternalURL: r.InternalUrl,
			State: r.State, Heartbeat: r.Heartbeat, AppliedRev: r.AppliedRev, Live: r.Live,
		}
	}
	return proxies, nil
}
