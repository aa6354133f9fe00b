package feed

import (
	"context"
	"fmt"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/live"
	"tokenrelay/shared/store"
)

// catchUp applies everything that happened since the last time.
func (f *Feed) catchUp(ctx context.Context) error {
	newest := int64(0)
	if f.recheck.Swap(false) {
		var err error
		if newest, err = f.o.Store.Revision(ctx); err != nil {
			f.recheck.Store(true)
			return fmt.Errorf("cannot read the revision: %w", err)
		}
		if newest < f.fetched {
			// A failover lost commits, or an older copy was restored: revisions that
			// were seen will be given again, to other changes.
			f.gaps.Inc()
			f.o.Log.Error("the revision went back, everything is read again", "seen", f.fetched, "newest", newest)
			f.o.Catalog.Restart()
			f.applied.Store(0)
			if err := f.reload(ctx); err != nil {
				f.recheck.Store(true)
				return err
			}
			f.wallet(0)
		}
	}
	for {
		changes, err := f.o.Store.Changes(ctx, f.fetched, batch)
		if err != nil {
			return fmt.Errorf("cannot read the changes: %w", err)
		}
		if len(changes) == 0 && f.fetched >= newest {
			break
		}
		if len(changes) == 0 || changes[0].Rev != f.fetched+1 {
			f.gaps.Inc()
			f.o.Log.Warn("changes were pruned before they were read, everything is read again", "after", f.fetched)
			if err := f.reload(ctx); err != nil {
				return err
			}
			f.wallet(0)
			continue
		}
		for i := range changes {
			f.mark(&changes[i])
		}
		f.changes.Add(len(changes))
		f.fetched = changes[len(changes)-1].Rev
		f.o.Catalog.Applied(f.fetched)
		if len(changes) < batch {
			break
		}
	}
	// One load serves all the catalogue changes that came together. Its failure
	// does not hold up the changes of keys: the last good snapshot serves on.
	err := f.refresh(ctx)
	f.report()
	return err
}

// mark applies one change to the caches and tells whom it concerns.
func (f *Feed) mark(c *store.Change) {
	switch c.Kind {
	case store.KindCatalog:
		if f.dirty == 0 {
			f.dirty = c.Rev
		}
		f.loadAfter = time.Time{} // this change may mend what could not be built
	case store.KindKey:
		if c.Detail == store.KeyRevokedOp || c.Detail == store.KeyRotated {
			f.o.Catalog.Revoke(c.ID)
		}
		f.o.Catalog.MarkKey(&c.Digest, c.Rev)
		f.cut(c) // after the mark: a request that passed before it has its live side by now
		if f.o.Key != nil {
			f.o.Key(c.ID, c.Detail)
		}
	case store.KindClient:
		f.o.Catalog.MarkClient(c.ID, c.Rev)
		if f.o.Client != nil {
			f.o.Client(c.ID)
		}
	case store.KindWallet:
		f.wallet(c.ID)
	case store.KindSetting:
		if f.o.Setting != nil {
			f.o.Setting(c.Detail)
		}
	}
}

// cut moves the switch that running streams of the key look at.
func (f *Feed) cut(c *store.Change) {
	if f.o.Live == nil {
		return
	}
	k := f.o.Live(c.ID)
	if k == nil {
		return
	}
	switch c.Detail {
	case store.KeyDisabledOp, store.KeyRevokedOp:
		k.SetCut(live.CutNow)
	case store.KeyRotated:
		k.SetCut(live.CutDrain)
	case store.KeyEnabled:
		k.SetCut(live.CutNone)
	}
}

func (f *Feed) wallet(id int64) {
	if f.o.Wallet != nil {
		f.o.Wallet(id)
	}
}

// refresh loads the catalogue if a change of it is not yet in the snapshot.
func (f *Feed) refresh(ctx context.Context) error {
	now := time.Now()
	if f.dirty == 0 || now.Before(f.loadAfter) || now.Before(f.spaced) {
		return nil
	}
	rows, err := f.o.Store.RefreshCatalog(ctx)
	f.spaced = time.Now().Add(spacing)
	if err != nil {
		f.errLoad.Inc()
		return fmt.Errorf("cannot load the catalogue: %w", err)
	}
	if err := f.publish(rows); err != nil {
		// Reading the same rows again helps nobody at once.
		f.loadWait = min(max(f.o.Poll, 2*f.loadWait), 2*lastBackoff)
		f.loadAfter = time.Now().Add(f.loadWait)
		f.o.Log.Error("the new catalogue cannot be used, the last good one serves on", "err", err, "revision", rows.Revision)
		return nil
	}
	return nil
}

// publish builds the snapshot of the rows and swaps it in.
func (f *Feed) publish(rows *store.CatalogRows) error {
	before := f.o.Catalog.Snapshot()
	s, err := catalog.Build(rows, before, f.o.Open)
	if err != nil {
		f.errBuild.Inc()
		return err
	}
	f.o.Catalog.Publish(s)
	s.Warm(time.Now())
	f.reloads.Inc()
	if rows.Revision >= f.dirty {
		f.dirty = 0
	}
	f.loadWait = 0
	f.tell(before.Problems, s.Problems)
	return nil
}

// mostTold bounds the lines of one snapshot.
const mostTold = 20

// tell logs what of the rows is left out now and was not before: a catalogue may change ten
// times a second.
func (f *Feed) tell(before, now []string) {
	told, more := make(map[string]bool, len(before)), 0
	for _, p := range before {
		told[p] = true
	}
	for _, p := range now {
		switch {
		case told[p]:
		case more < mostTold:
			f.o.Log.Warn("a row of the catalogue was left out", "why", p)
			more++
		default:
			more++
		}
	}
	if more > mostTold {
		f.o.Log.Warn("more rows of the catalogue were left out", "count", more-mostTold)
	}
	if len(before) > 0 && len(now) == 0 {
		f.o.Log.Info("no row of the catalogue is left out any more")
	}
}

// report moves the applied revision: all marks are set up to fetched, and the
// snapshot holds every catalogue change up to there or up to before dirty.
func (f *Feed) report() {
	applied := f.fetched
	if f.dirty != 0 {
		applied = f.dirty - 1
	}
	if applied > f.applied.Load() {
		f.applied.Store(applied)
	}
}

// reload reads everything: at the start, and when changes were missed.
func (f *Feed) reload(ctx context.Context) error {
	rows, err := f.o.Store.LoadCatalog(ctx)
	if err != nil {
		f.errLoad.Inc()
		return fmt.Errorf("cannot load the catalogue: %w", err)
	}
	// Keys revoked up to the rows' revision are in the table by now; later ones are
	// in the changes that follow.
	for after := int64(0); ; {
		keys, err := f.o.Store.RevokedKeys(ctx, after, page)
		if err != nil {
			f.errLoad.Inc()
			return fmt.Errorf("cannot load the revoked keys: %w", err)
		}
		for i := range keys {
			f.o.Catalog.Revoke(keys[i].ID)
			after = max(after, keys[i].ID)
		}
		if len(keys) < page {
			break
		}
	}
	if err := f.publish(rows); err != nil {
		return err
	}
	f.o.Catalog.MarkAll(rows.Revision)
	f.o.Catalog.Applied(rows.Revision)
	f.fetched, f.dirty = rows.Revision, 0
	f.report()
	return nil
}
