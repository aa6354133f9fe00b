package api

import (
	"testing"
	"time"

	"tokenrelay/admin/report"
	"tokenrelay/shared/money"
	"tokenrelay/shared/usage"
)

// A key shows when it was last used: its newest request, not another key's.
func TestKeyLastUsed(t *testing.T) {
	w := newWorld(t)
	acme, other := w.tenant("Acme", "", 10*money.USD), w.tenant("Other", "", 10*money.USD)
	read := func(n *tenant) *time.Time {
		var k report.APIKey
		w.expect(w.call(n, "GET", "/openapi/v1/api-keys/"+n.key.PublicID, ""), 200, &k)
		var list keyList
		w.expect(w.call(n, "GET", "/openapi/v1/api-keys", ""), 200, &list)
		if len(list.Items) != 1 || (list.Items[0].LastUsedAt == nil) != (k.LastUsedAt == nil) {
			t.Errorf("the list says %+v, the key %v", list.Items, k.LastUsedAt)
		}
		return k.LastUsedAt
	}
	if at := read(acme); at != nil {
		t.Errorf("used at %v before any request", at)
	}
	newest := time.Now().Add(-time.Minute).Truncate(time.Millisecond)
	w.used(acme, "alpha", usage.Success, "", newest, 10, 10)
	w.used(acme, "alpha", usage.Success, "", newest.Add(-40*24*time.Hour), 10, 10) // another month's partition
	if at := read(acme); at == nil || !at.Equal(newest) {
		t.Errorf("used at %v, want %v", at, newest)
	}
	if at := read(other); at != nil {
		t.Errorf("another customer's key: used at %v", at)
	}
}
