package store

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/price"
	"tokenrelay/shared/usage"
)

// What a catalogue is said to take at least is no less than what it takes, whatever stands
// in it, and one that may be too large is told whole.
func TestRoom(t *testing.T) {
	table := price.Table{Set: 1<<usage.NumClasses - 1}
	for i := range table.Rates {
		table.Rates[i] = 123_456_789_123
	}
	table.Resolve()
	odd := strings.Repeat("\x01\"\\é", 60)
	rows := func(n int) *CatalogRows {
		c := &CatalogRows{Now: time.UnixMilli(10)}
		for i := range int64(n) {
			c.Groups = append(c.Groups, GroupRow{
				ID: i, Name: fmt.Sprint(strings.Repeat("g", 60), i), Models: []string{"m"}, PPM: 1_234_567, RPM: 1 << 40, TPM: 1 << 40, MaxConcurrency: 1 << 40,
				DailyUSD: 123_456_789_123_456, TotalQuota: 123_456_789_123_456, IPAllow: []netip.Prefix{netip.MustParsePrefix("2001:db8:1111:2222:3333:4444:5555:6666/128")}, ExpiresAt: time.Unix(1e9, 0),
			})
			c.Providers = append(c.Providers, ProviderRow{ID: i, Slug: fmt.Sprint(strings.Repeat("p", 60), i), Protocol: "anthropic", Dialect: strings.Repeat("d", 64), BaseURL: odd, Options: map[string]string{"api_version": odd}, DailyStop: 123_456_789_123_456})
			c.ProviderKeys = append(c.ProviderKeys, ProviderKeyRow{ID: i, ProviderID: i, Name: strings.Repeat("k", 64)})
			c.Models = append(c.Models, ModelRow{ID: i, PublicID: fmt.Sprint(strings.Repeat("m", 120), i), Aliases: []string{odd, odd}, Tags: []string{odd}, ContextTokens: 1 << 62, MaxOutput: 1 << 62, PPM: 1_234_567, AutoStrategy: "balanced", AutoModels: []string{odd}})
			c.Routes = append(c.Routes, RouteRow{ID: i + 1, ModelID: i, ProviderID: i, UpstreamModel: odd, Priority: 1 << 30, Weight: 1 << 30, Region: strings.Repeat("r", 64)})
			v := price.Version{ID: i, Base: table, Tiers: []price.Tier{{AboveInput: 1 << 62, Table: table}}}
			if i > 0 {
				c.Prices = append(c.Prices, PriceRow{ModelID: i, Version: v})
			}
			c.Prices = append(c.Prices, PriceRow{RouteID: i + 1, Version: v})
		}
		return c
	}
	for _, n := range []int{0, 1, 30} {
		c := rows(n)
		if room, is := c.room(), len(catalogfile.Marshal(c.file())); room < is && n > 0 {
			t.Errorf("%d of each: said to be %d bytes, is %d", n, room, is)
		}
		if outlines(c.about("none")) != n {
			t.Errorf("%d of each: %d outlines", n, outlines(c.about("none")))
		}
	}
	c := rows(1500)
	if room := c.room(); room <= catalogfile.MaxBytes {
		t.Fatalf("%d bytes are not too many", room)
	}
	if n := outlines(c.about("none")); n != 0 {
		t.Errorf("%d outlines of a catalogue that may be too large", n)
	}
}

func outlines(f *catalogfile.File) (n int) {
	for i := range f.Models {
		if f.Models[i].Outline != catalogfile.NoOutline {
			n++
		}
	}
	return n
}
