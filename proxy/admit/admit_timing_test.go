package admit

import (
	"net/netip"
	"sync/atomic"
	"testing"

	"tokenrelay/proxy/lease"
)

// warm is a desk whose customer has money and, if limited, all kinds of limits.
func warm(t testing.TB, limited bool) *desk {
	d := newDesk(t, 1_000_000*usd)
	if limited {
		d.key.RPM, d.key.TPM, d.key.MaxConcurrency, d.key.DailyUSD = 500_000, 1<<40, 1000, 1<<60
		d.group.RPM, d.group.TPM = 1_000_000, 1<<40
		d.capMonth(1_000_000 * usd)
		d.capTotal(1_000_000 * usd)
	}
	d.ok(d.input(20_000_000)).Void()
	return d
}

func (d *desk) once(in *Input, ticket *Ticket) {
	in.Bound.OutputTokens, in.Now = 1000, lease.Now()
	if err := d.gate.Admit(in, ticket); err != nil {
		d.t.Fatal(err)
	}
	ticket.Settle(100, 500)
}

func BenchmarkAdmitSettle(b *testing.B) {
	for _, limited := range []bool{false, true} {
		name := "plain"
		if limited {
			name = "all-limits"
		}
		b.Run(name, func(b *testing.B) {
			d := warm(b, limited)
			d.key.RPM, d.group.RPM = 0, 0 // they would refuse; see BenchmarkWindow
			in, ticket := d.input(1000), new(Ticket)
			b.ReportAllocs()
			for b.Loop() {
				d.once(in, ticket)
			}
		})
	}
	b.Run("parallel-one-key", func(b *testing.B) {
		d := warm(b, true)
		d.key.RPM, d.group.RPM = 0, 0
		b.ReportAllocs()
		b.RunParallel(func(pb *testing.PB) {
			in, ticket := d.input(1000), new(Ticket)
			for pb.Next() {
				d.once(in, ticket)
			}
		})
	})
}

func BenchmarkAllowIP(b *testing.B) {
	d := newDesk(b, usd)
	d.gate.o.IPRPM = 1 << 40
	var n atomic.Uint32
	b.ReportAllocs()
	for b.Loop() {
		i := n.Add(1) % 50_000
		d.gate.AllowIP(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), d.now)
	}
}

// BenchmarkGroupShared measures what the one word that all keys of a group share
// costs under contention: "own" has a key and a group per goroutine.
func BenchmarkGroupShared(b *testing.B) {
	for _, shared := range []bool{false, true} {
		name := "own"
		if shared {
			name = "shared"
		}
		b.Run(name, func(b *testing.B) {
			d := warm(b, false)
			var n atomic.Int64
			b.RunParallel(func(pb *testing.PB) {
				id := n.Add(1)
				group, key := *d.group, *d.key
				if key.ID, key.Live = id+100, d.live.Key(id+100, 9); !shared {
					group.ID = id + 100
				}
				group.TPM = 1 << 40
				in, ticket := d.input(1000), new(Ticket)
				in.Key, in.Group = &key, &group
				for pb.Next() {
					d.once(in, ticket)
				}
			})
		})
	}
}
