package fleet

import (
	"fmt"
	"testing"
	"time"

	"tokenrelay/shared/apikey"
	"tokenrelay/shared/apptest"
	"tokenrelay/shared/store"
)

// D7: under 300 requests a second in all, what a manager changes is seen by each of
// three proxies within a second of the change's answer (the price: prices_test.go).
func TestChangesAreSeenEverywhereWithinASecond(t *testing.T) {
	s := apptest.Start(t, apptest.Options{Proxies: 3})
	db := database(t, s)
	c := s.CreateClient("acme", "100")
	base := s.CreateKey(c.Name)
	warm(t, s, base)
	rounds := 20
	if long {
		rounds = 200
	}
	l := startLoad(s, 300, same(short(base)))
	time.Sleep(500 * time.Millisecond)

	var made, unmade, disabled, enabled, revoked, credited []time.Duration
	for i := range rounds {
		var k apptest.Key
		at := operator(t, s, "POST", "/admin/v1/clients/acme/api-keys", fmt.Sprintf(`{"name":"k%d"}`, i), &k)
		made = append(made, untilAll(t, s, at, "a new key", short(k), accepted)...)
		at = disable(t, s, k)
		disabled = append(disabled, untilAll(t, s, at, "a disabled key", short(k), refused)...)
		at = enable(t, s, k)
		enabled = append(enabled, untilAll(t, s, at, "an enabled key", short(k), accepted)...)
		at = revoke(t, s, k)
		revoked = append(revoked, untilAll(t, s, at, "a revoked key", short(k), refused)...)

		// A key that every proxy has just been asked for, in vain.
		token, id, err := apikey.Generate("tsk_")
		if err != nil {
			t.Fatal(err)
		}
		k = apptest.Key{ID: id, Token: token}
		untilAll(t, s, time.Now(), "no key", short(k), refused)
		client, err := db.ClientByName(t.Context(), "acme")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := db.CreateKey(t.Context(), "test", store.NewKey{
			ClientID: client.ID, PublicID: id, Digest: apikey.Digest([]byte(token)), Last4: token[len(token)-4:], Name: "unknown before", KeyLimits: store.Unlimited(),
		}); err != nil {
			t.Fatal(err)
		}
		unmade = append(unmade, untilAll(t, s, time.Now(), "a key that was unknown", short(k), accepted)...)

		// A wallet that every proxy has just been refused: each remembers it for a
		// second, unless the feed says that there is money.
		poor := s.CreateClient(fmt.Sprintf("poor%d", i), "0")
		k = s.CreateKey(poor.Name)
		untilAll(t, s, time.Now(), "no money", short(k), func(x sample) bool { return x.status == 402 })
		at = operator(t, s, "POST", "/admin/v1/clients/"+poor.Name+"/credit", `{"amount":"1"}`, nil)
		credited = append(credited, untilAll(t, s, at, "a credit", short(k), accepted)...)
	}
	list := l.end()
	spread(t, "a key made", made)
	spread(t, "a key made that had just been refused as unknown", unmade)
	spread(t, "a key disabled", disabled)
	spread(t, "a key enabled", enabled)
	spread(t, "a key revoked", revoked)
	spread(t, "a client credited from nothing", credited)
	t.Logf("load: %d requests, %v", len(list), counts(list))
	for _, x := range list {
		if x.err != nil || x.status != 200 {
			t.Errorf("the load met %d %s %v", x.status, x.code, x.err)
			break
		}
	}
	s.Audit()
}
