package store_test

import (
	"crypto/sha256"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/money"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// both audits must find nothing.
func (b *books) cleanDeep() {
	b.t.Helper()
	b.clean()
	r, err := b.Audit(b.t.Context(), store.AuditOptions{Deep: true})
	if err != nil {
		b.t.Fatal(err)
	}
	for _, l := range r.Lines {
		if l.Broken != 0 {
			b.t.Errorf("deep: %s %s: %d of %d broken: %v", l.ID, l.Name, l.Broken, l.Checked, l.Samples)
		}
	}
}

// chain closes all days that are over and chains them.
func (b *books) chain() int64 {
	b.t.Helper()
	n, err := b.ChainDays(b.t.Context(), 0)
	if err != nil {
		b.t.Fatal(err)
	}
	return n
}

// M13: every closed day of every wallet is in its chain; each link names the one before;
// a change of any row, or of a link, is found. The heads are what SHA-256 says they are.
func TestChainOfDaysM13(t *testing.T) {
	b := newBooks(t)
	b.crowd(20, 400, 20)
	made := b.chain()
	if made < 20*15 {
		t.Fatalf("%d links", made)
	}
	if again := b.chain(); again != 0 {
		t.Errorf("chained again: %d links", again)
	}
	b.cleanDeep()

	// The first two links of one wallet, computed here.
	type link struct {
		day        int32
		prev, head []byte
	}
	var links []link
	rows, err := b.conn.Query(t.Context(), "SELECT day, coalesce(prev, ''), head FROM wallet_day WHERE wallet_id = 1001 ORDER BY day LIMIT 2")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var l link
		if err := rows.Scan(&l.day, &l.prev, &l.head); err != nil {
			t.Fatal(err)
		}
		links = append(links, l)
	}
	if len(links) != 2 || len(links[0].prev) != 0 || !slices.Equal(links[1].prev, links[0].head) {
		t.Fatalf("%+v", links)
	}
	for _, l := range links {
		var lines []string
		rows, err := b.conn.Query(t.Context(), `SELECT usage_line(u) FROM usage u WHERE wallet_id = 1001 AND day_of(request_id) = $1 ORDER BY request_id`, l.day)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, s)
		}
		rows, err = b.conn.Query(t.Context(), `SELECT entry_line(e) FROM entry e WHERE wallet_id = 1001 AND floor(extract(epoch FROM created_at) / 86400) = $1 ORDER BY id`, l.day)
		if err != nil {
			t.Fatal(err)
		}
		for rows.Next() {
			var s string
			if err := rows.Scan(&s); err != nil {
				t.Fatal(err)
			}
			lines = append(lines, s)
		}
		var sum []byte
		for _, line := range lines {
			h := sha256.Sum256(append(sum, line...))
			sum = h[:]
		}
		want := sha256.Sum256(slices.Concat(l.prev, []byte(strconv.Itoa(int(l.day))), sum))
		if !slices.Equal(want[:], l.head) {
			t.Errorf("day %d: head %x, want %x of %q", l.day, l.head, want, lines)
		}
	}
}

// A record that comes for a closed day belongs to the chain of the next open one, and
// the closed one stays as it was.
func TestLateRowsOfClosedDaysM13(t *testing.T) {
	b := newBooks(t)
	p := b.party(money.USD)
	x := b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD/2, 0)
	old := b.record(p, lease, 100, 10)
	old.ID = reqid.New(time.Now().AddDate(0, 0, -3))
	b.settle(x.ID, old)
	b.chain()
	b.cleanDeep()
	late := b.record(p, lease, 100, 20)
	late.ID = reqid.New(time.Now().AddDate(0, 0, -2))
	b.settle(x.ID, late, b.record(p, lease, 50, 5))
	var after int
	if err := b.conn.QueryRow(t.Context(), "SELECT count(*) FROM usage_after").Scan(&after); err != nil || after != 1 {
		t.Fatalf("%d late rows, %v", after, err)
	}
	b.cleanDeep()
	exec(t, b.conn, "INSERT INTO day_close (day) VALUES (floor(extract(epoch FROM now()) / 86400))") // today is over
	links := b.chain()
	b.cleanDeep()
	b.settle(x.ID, b.record(p, lease, 50, 6)) // after the close
	b.cleanDeep()
	var calls []int64
	if err := b.conn.QueryRow(t.Context(), "SELECT array_agg(calls ORDER BY day) FROM wallet_day WHERE wallet_id = $1", p.client.WalletID).Scan(&calls); err != nil {
		t.Fatal(err)
	}
	// The late row is of the first open day: today, or for a while after midnight still
	// yesterday, which then gets a link of its own.
	if !slices.Equal(calls, []int64{1, 2}) && !slices.Equal(calls, []int64{1, 1, 1}) || links != int64(len(calls))-1 {
		t.Errorf("%d new links; calls of all: %v", links, calls)
	}
}

// The tables of the books refuse changes, also those of their owner who is no superuser.
func TestBooksAreAppendOnlyM13(t *testing.T) {
	b := busyBooks(t)
	for _, sql := range []string{
		"UPDATE usage SET charge = 0", "DELETE FROM usage", "TRUNCATE usage", "UPDATE entry SET amount = 1", "DELETE FROM entry", "TRUNCATE entry CASCADE",
		"DELETE FROM wallet_day", "TRUNCATE wallet_day", "UPDATE usage_after SET day = 1",
	} {
		if strings.Contains(sql, "wallet_day") || strings.Contains(sql, "usage_after") {
			exec(t, b.conn, "INSERT INTO usage_after VALUES (gen_random_uuid(), 1, 99999999) ON CONFLICT DO NOTHING")
			exec(t, b.conn, "INSERT INTO wallet_day VALUES (-1, 1, NULL, sha256(''), 0, 0, 0, 0) ON CONFLICT DO NOTHING")
		}
		if _, err := b.conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "append-only") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	for _, sql := range []string{"ALTER TABLE usage DISABLE TRIGGER usage_append_only", "ALTER TABLE usage DISABLE TRIGGER usage_after", "DROP TRIGGER entry_append_only ON entry"} {
		c := busyBooks(t)
		exec(t, c.conn, sql)
		if found := findings(t, c, store.AuditOptions{}); !slices.Contains(found, "M13") {
			t.Errorf("%s is found by %v", sql, found)
		}
	}
}
