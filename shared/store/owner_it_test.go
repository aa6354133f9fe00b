package store_test

import (
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"tokenrelay/shared/apptest/pgtest"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// M13: an owner who is no superuser, as most databases have, can run the relay but has
// given up what would change the books: the privilege is refused before any trigger.
func TestOwnerWithoutPrivilegesM13(t *testing.T) {
	url := pgtest.Empty(t)
	conn := raw(t, url)
	config, err := pgx.ParseConfig(url)
	if err != nil {
		t.Fatal(err)
	}
	role := fmt.Sprintf("owner_%d", time.Now().UnixNano())
	exec(t, conn, "CREATE ROLE "+role+" NOSUPERUSER")
	exec(t, conn, "GRANT CREATE, TEMPORARY ON DATABASE "+config.Database+" TO "+role)
	exec(t, conn, "ALTER SCHEMA public OWNER TO "+role)
	t.Cleanup(func() {
		c := raw(t, url)
		exec(t, c, "DROP OWNED BY "+role+" CASCADE")
		exec(t, c, "DROP ROLE "+role)
	})
	sep := "?"
	if strings.Contains(url, "?") {
		sep = "&"
	}
	as := url + sep + "options=-c%20role%3D" + role
	if err := store.Migrate(t.Context(), as); err != nil {
		t.Fatal(err)
	}
	b := booksOn(t, as)
	p := b.party(money.USD)
	x := b.proxy("p1")
	lease, _ := x.grant(p.wallet(), money.USD/2, 0)
	b.settle(x.ID, b.record(p, lease, 100, 10))
	if _, err := b.EnsurePartitions(t.Context()); err != nil {
		t.Error(err)
	}
	if v, err := b.CreateVouchers(t.Context(), "test", []store.NewVoucher{{Digest: [32]byte{1}, Last4: "abcd", Amount: 5}}); err != nil || len(v) != 1 {
		t.Error(err)
	}
	if _, _, err := b.Redeem(t.Context(), "test", p.client.WalletID, [32]byte{1}); err != nil {
		t.Error(err)
	}
	for _, sql := range []string{"UPDATE usage SET charge = 0", "DELETE FROM usage", "TRUNCATE usage", "DELETE FROM entry", "UPDATE entry SET amount = 1", "DELETE FROM wallet_day", "DELETE FROM " + fmt.Sprintf("usage_%d", month())} {
		if _, err := b.conn.Exec(t.Context(), sql); err == nil || !strings.Contains(err.Error(), "permission denied") {
			t.Errorf("%s: %v", sql, err)
		}
	}
	b.cleanDeep()
}

// M12: the view of postings, the ledger's accounts in the audit, and the wallets agree.
func TestDoubleEntryM12(t *testing.T) {
	b := busyBooks(t)
	if _, err := b.AddEntry(t.Context(), "test", store.NewEntry{WalletID: 1, Kind: "refund", Amount: 77}); err != nil {
		t.Fatal(err)
	}
	if _, err := b.AddEntry(t.Context(), "test", store.NewEntry{WalletID: 1, Kind: "correction", Amount: -7}); err != nil {
		t.Fatal(err)
	}
	want := map[string]string{}
	rows, err := b.conn.Query(t.Context(), "SELECT account, sum(amount)::text FROM posting GROUP BY 1")
	if err != nil {
		t.Fatal(err)
	}
	for rows.Next() {
		var account, sum string
		if err := rows.Scan(&account, &sum); err != nil {
			t.Fatal(err)
		}
		want[account] = sum
	}
	if len(want) != 6 {
		t.Errorf("accounts %v", want)
	}
	var balances string
	if err := b.conn.QueryRow(t.Context(), "SELECT sum(balance)::text FROM wallet").Scan(&balances); err != nil {
		t.Fatal(err)
	}
	if want["customers"] != balances {
		t.Errorf("customers %s, wallets %s", want["customers"], balances)
	}
	var unbalanced int
	if err := b.conn.QueryRow(t.Context(), "SELECT count(*) FROM (SELECT source, ref FROM posting GROUP BY 1, 2 HAVING sum(amount) <> 0) x").Scan(&unbalanced); err != nil || unbalanced != 0 {
		t.Errorf("%d movements have lost a side, %v", unbalanced, err)
	}
	for _, deep := range []bool{false, true} {
		r, err := b.Audit(t.Context(), store.AuditOptions{Deep: deep})
		if err != nil {
			t.Fatal(err)
		}
		zero := new(big.Int)
		for _, a := range r.Accounts {
			if a.Amount.String() != want[a.Account] {
				t.Errorf("deep %v: account %s is %s, postings say %s", deep, a.Account, a.Amount, want[a.Account])
			}
			zero.Add(zero, a.Amount)
		}
		if zero.Sign() != 0 || len(r.Accounts) != 6 {
			t.Errorf("accounts add up to %s: %+v", zero, r.Accounts)
		}
	}
	b.cleanDeep()
}
