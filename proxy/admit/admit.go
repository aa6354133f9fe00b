// Package admit decides whether a request may run: model scope, rate limits, and
// the money for the most it can cost (D3, D12). What a request was given it returns
// exactly once, through its Ticket.
package admit

import (
	"context"
	"net/netip"
	"sync/atomic"
	"time"

	"tokenrelay/proxy/catalog"
	"tokenrelay/proxy/lease"
	"tokenrelay/proxy/limit"
	"tokenrelay/proxy/live"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/reqid"
	"tokenrelay/shared/store"
)

// MinOutput is the fewest output tokens per choice that the relay lowers a missing
// cap to; a wallet that covers less is refused (D3).
const MinOutput = 1024

// assumedOutput is what a request without a cap draws from the token limit until its
// usage is known (rulings 1.14).
const assumedOutput = 1024

// concurrencyWait is what a client is told to wait for one of its own requests to
// end: nobody can say.
const concurrencyWait = 1

// Input is what is asked about one request. The Gate changes nothing but
// Bound.OutputTokens, when it lowers the output cap.
type Input struct {
	Ctx   context.Context
	Key   *catalog.Key
	Group *catalog.Group // of the client, nil: it exists no more
	Model *catalog.Model // the one that is served and priced
	Rule  *price.Rule    // pinned

	// Bound is the most the request can consume. OutputTokens is the client's cap
	// (ClientCap set), else the model's maximum.
	Bound     price.Bound
	ClientCap bool
	NoClamp   bool // the cap must not be lowered: provider-pinned paths
	Inner     bool // part of a request that was let in: it counts for money only
	Free      bool // nothing is billed, so nothing is held, not even a fee for the request

	Capped    bool         // the client says the most that the request may cost
	MaxCharge money.Amount // what it says

	BodyBytes int
	Now       int64 // lease.Now() of the request
	Milli     int64 // unix ms of the request id, whose clock is Postgres's
}

// Options are the settings of a Gate.
type Options struct {
	Leases *lease.Manager
	Live   *live.Registry
	Limits *limit.Exchange // shares limits with other proxies; nil: counts alone
	IPs    *live.IPs       // nil: one of its own
	IPRPM  int64           // per client address, 0 = off
	Strict bool            // a ticket closed twice, or a charge above its hold, panics (tests)
}

// Gate admits requests. It is safe for concurrent use; a warm request takes no lock,
// allocates nothing and asks no database.
type Gate struct {
	o      Options
	ips    *live.IPs
	months atomic.Pointer[month]
	Count  Counters
}

// Counters count what a Gate met that should not happen.
type Counters struct {
	ClosedTwice atomic.Uint64 // tickets settled or voided again
	AboveHold   atomic.Uint64 // charges above their hold, lowered to it
}

// month is a calendar month (UTC) in unix ms.
type month struct {
	from, to int64
	period   int32 // yyyymm
}

// NewGate makes a Gate.
func NewGate(o Options) *Gate {
	if o.IPs == nil {
		o.IPs = live.NewIPs()
	}
	g := &Gate{o: o, ips: o.IPs}
	g.months.Store(new(month))
	return g
}

// AllowIP counts a request of a client address; nil lets it pass.
func (g *Gate) AllowIP(ip netip.Addr, now int64) *apierr.Error {
	if g.o.IPRPM <= 0 {
		return nil
	}
	if wait, ok := g.o.Limits.AllowIP(g.ips, g.ips.Counted(ip, now), g.o.IPRPM, now); !ok {
		return apierr.RateLimit(apierr.RateLimitedIP, seconds(wait))
	}
	return nil
}

// seconds rounds a wait up, so that who waits it is let through.
func seconds(ns int64) int { return int((ns + int64(time.Second) - 1) / int64(time.Second)) }

const dayMilli = 86_400_000

// Admit decides about a request. nil: it may run, and t must be settled or voided
// exactly once. An error: nothing was taken. It waits only where the wallet's lease
// cannot cover the request, for one grant.
func (g *Gate) Admit(in *Input, t *Ticket) *apierr.Error {
	*t = Ticket{gate: g, key: in.Key.Live, OutputCap: in.Bound.OutputTokens}
	err := g.admit(in, t)
	t.note(in.Key, in.Now) // who is refused is told of its limits too
	return err
}

// Limit is the first half of Admit: everything but the money. nil: the ticket may be
// voided, or Hold is asked for the rest.
func (g *Gate) Limit(in *Input, t *Ticket) *apierr.Error {
	*t = Ticket{gate: g, key: in.Key.Live, OutputCap: in.Bound.OutputTokens}
	err := g.limit(in, t)
	t.note(in.Key, in.Now)
	if err == nil {
		t.open = 1
	}
	return err
}

// Hold is the second half: the money. With an error all that Limit took is given back.
func (g *Gate) Hold(in *Input, t *Ticket) *apierr.Error {
	t.OutputCap = in.Bound.OutputTokens
	if err := g.hold(in, t); err != nil {
		t.open = 0
		return t.refuse(err)
	}
	return nil
}

func (g *Gate) admit(in *Input, t *Ticket) *apierr.Error {
	if err := g.limit(in, t); err != nil {
		return err
	}
	if err := g.hold(in, t); err != nil {
		return t.refuse(err)
	}
	t.open = 1
	return nil
}

// limit takes what is limited besides money.
func (g *Gate) limit(in *Input, t *Ticket) *apierr.Error {
	k := in.Key
	if in.Inner {
		return g.limitInner(in, t)
	}
	if err := Scope(k, in.Group, in.Model); err != nil {
		return err
	}
	now := in.Now
	if k.RPM > 0 {
		part, began, wait, ok := g.o.Limits.Window(store.LimitSubject{Kind: store.LimitKeyRPM, ID: k.ID}, &k.Live.RPM, &k.Live.RPMShare, k.RPM, now)
		if !ok {
			return t.refuse(apierr.RateLimit(apierr.RateLimitedRPM, seconds(wait)))
		}
		t.rpmPart, t.rpmBegan, t.took = part, began, t.took|tookRPM
	}
	t.tokens = int64(in.BodyBytes)/4 + assumedOutput
	if in.ClientCap {
		t.tokens += min(in.Bound.OutputTokens, 1<<40)*min(max(1, in.Bound.Choices), 1<<20) - assumedOutput
	}
	if k.TPM > 0 {
		t.tpm = k.TPM
		share, wait, ok := g.o.Limits.Tokens(store.LimitSubject{Kind: store.LimitKeyTPM, ID: k.ID}, &k.Live.TPM, &k.Live.TPMShare, t.tokens, k.TPM, now)
		if !ok {
			return t.refuse(apierr.RateLimit(apierr.RateLimitedTPM, seconds(wait)))
		}
		t.tpmShare = share
		t.took |= tookTPM
	}
	group := in.Group
	if group.RPM > 0 || group.TPM > 0 || group.MaxConcurrency > 0 || group.DailyUSD >= 0 {
		t.group = g.o.Live.Group(group.ID)
		if err := t.takeGroupRates(in); err != nil {
			return t.refuse(err)
		}
	}
	if !g.enter(store.LimitSubject{Kind: store.LimitKeyPlaces, ID: k.ID}, &k.Live.Use, &k.Live.Shared, k.MaxConcurrency, now) {
		return t.refuse(apierr.RateLimit(apierr.RateLimitedConc, concurrencyWait))
	}
	t.took |= tookPlace
	k.Live.Keep()
	if group.MaxConcurrency > 0 {
		if !g.enter(store.LimitSubject{Kind: store.LimitGroupPlaces, ID: group.ID}, &t.group.Use, &t.group.Shared, group.MaxConcurrency, now) {
			return t.refuse(apierr.RateLimit(apierr.RateLimitedGroup, concurrencyWait))
		}
		t.took |= tookGroupPlace
	}
	t.day = in.Milli / dayMilli
	if k.DailyUSD >= 0 {
		g.o.Limits.Day(store.DayKey, k.ID, &k.Live.Use, &k.Live.Daily, t.day, k.DailyUSD)
		if k.Live.Spent(t.day) >= k.DailyUSD {
			return t.refuse(daily(in.Milli))
		}
	}
	if group.DailyUSD >= 0 {
		g.o.Limits.Day(store.DayGroup, group.ID, &t.group.Use, &t.group.Daily, t.day, group.DailyUSD)
		if t.group.Spent(t.day) >= group.DailyUSD {
			return t.refuse(daily(in.Milli))
		}
		t.took |= tookGroupDay
	}
	return nil
}

// limitInner is limit for what the relay itself asks on a request's behalf: rates and
// places were the request's, and the key's scope is about what its holder may call.
func (g *Gate) limitInner(in *Input, t *Ticket) *apierr.Error {
	if err := groupScope(in.Group, in.Model); err != nil {
		return err
	}
	t.day = in.Milli / dayMilli
	if in.Group.DailyUSD >= 0 {
		t.group = g.o.Live.Group(in.Group.ID)
		t.took |= tookGroupDay
	}
	return nil
}

// enter counts a running request, unless limit (> 0) of them run.
func (g *Gate) enter(s store.LimitSubject, u *live.Use, shared *live.Shared, limit, now int64) bool {
	if limit <= 0 {
		return u.Enter(0)
	}
	return g.o.Limits.Enter(s, u, &shared.Places, limit, now)
}

// AddCost adds what a request cost us at a provider, for its daily stop.
func (g *Gate) AddCost(p *catalog.Provider, cost money.Amount, milli int64) {
	if p.DailyStop >= 0 {
		g.o.Limits.AddCost(p.ID, p.DailyStop, cost, milli)
	}
}

// Scope says whether a key and its group (nil: it exists no more) may use a model
// (C9).
func Scope(k *catalog.Key, group *catalog.Group, m *catalog.Model) *apierr.Error {
	if k.Models != nil {
		if _, ok := k.Models[m.ID]; !ok {
			return apierr.ModelDenied(m.ID)
		}
	}
	return groupScope(group, m)
}

func groupScope(group *catalog.Group, m *catalog.Model) *apierr.Error {
	if group == nil {
		return apierr.GroupDenied(m.ID)
	}
	if !group.AllModels {
		if _, ok := group.Models[m.ID]; !ok {
			return apierr.GroupDenied(m.ID)
		}
	}
	return nil
}

// daily is the refusal of a spent day: it lasts until midnight UTC.
func daily(milli int64) *apierr.Error {
	return apierr.RateLimit(apierr.RateLimitedDaily, seconds((dayMilli-milli%dayMilli)*1e6))
}

func (t *Ticket) takeGroupRates(in *Input) *apierr.Error {
	group, limits := t.group, t.gate.o.Limits
	if in.Group.RPM > 0 {
		part, began, wait, ok := limits.Window(store.LimitSubject{Kind: store.LimitGroupRPM, ID: in.Group.ID}, &group.RPM, &group.RPMShare, in.Group.RPM, in.Now)
		if !ok {
			return apierr.RateLimit(apierr.RateLimitedGroup, seconds(wait))
		}
		t.groupPart, t.groupBegan, t.took = part, began, t.took|tookGroupRPM
	}
	if in.Group.TPM > 0 {
		t.groupTPM = in.Group.TPM
		share, wait, ok := limits.Tokens(store.LimitSubject{Kind: store.LimitGroupTPM, ID: in.Group.ID}, &group.TPM, &group.TPMShare, t.tokens, in.Group.TPM, in.Now)
		if !ok {
			return apierr.RateLimit(apierr.RateLimitedGroup, seconds(wait))
		}
		t.groupTPMShare = share
		t.took |= tookGroupTPM
	}
	return nil
}

// period is the calendar month of a request.
func (g *Gate) period(milli int64) int32 {
	if m := g.months.Load(); milli >= m.from && milli < m.to {
		return m.period
	}
	at := time.UnixMilli(milli).UTC()
	first := time.Date(at.Year(), at.Month(), 1, 0, 0, 0, 0, time.UTC)
	m := &month{from: first.UnixMilli(), to: first.AddDate(0, 1, 0).UnixMilli(), period: reqid.MonthOf(milli)}
	g.months.Store(m)
	return m.period
}

// hold reserves the most the request can cost, all legs or none. Where the cap is
// ours to choose and the money is short, the cap is lowered to what the money
// covers (D3).
func (g *Gate) hold(in *Input, t *Ticket) *apierr.Error {
	need, err := in.Rule.Ceiling(&in.Bound)
	if err != nil {
		return apierr.UnknownModel(in.Model.ID).WithCause(err)
	}
	var legs [maxLegs]*lease.Wallet
	legs[legWallet] = in.Key.Live.Wallet
	if in.Key.MonthlyCap >= 0 {
		legs[legMonth] = in.Key.Live.Month(g.period(in.Milli))
	}
	if in.Key.TotalQuota >= 0 {
		legs[legTotal] = in.Key.Live.Total()
	}
	if need == 0 || in.Free {
		return nil
	}
	if in.Capped && need > in.MaxCharge {
		if in.ClientCap || in.NoClamp || !lower(in, &need, in.MaxCharge) {
			return apierr.ErrMaxChargeExceeded
		}
		t.Clamped, t.OutputCap = true, in.Bound.OutputTokens
	}
	if t.take(&legs, need, in.Now) {
		return nil
	}
	return g.holdSlow(in, t, &legs, need)
}

// clampTries bounds how often a cap is lowered again because the money went
// elsewhere meanwhile.
const clampTries = 4

func (g *Gate) holdSlow(in *Input, t *Ticket, legs *[maxLegs]*lease.Wallet, need money.Amount) *apierr.Error {
	ctx := in.Ctx
	if ctx == nil {
		ctx = context.Background()
	}
	asked := need
	for try := 0; ; try++ {
		leg, refusal := t.takeWaiting(ctx, g.o.Leases, legs, need)
		switch refusal.Kind {
		case 0:
			t.Clamped = t.Clamped || need != asked
			t.OutputCap = in.Bound.OutputTokens
			return nil
		case lease.Unavailable:
			return apierr.ErrMoneyUnavailable.WithRetryAfter(refusal.RetryAfter)
		}
		if !in.ClientCap && !in.NoClamp && try < clampTries && (lower(in, &need, refusal.Available) || lower(in, &need, refusal.Reach)) {
			continue
		}
		switch leg {
		case legMonth:
			return apierr.ErrMonthlyCapReached
		case legTotal:
			return apierr.ErrKeyQuotaReached
		}
		return apierr.NotEnough(asked, min(refusal.Available, need-1))
	}
}

// lower brings the output cap down to what budget covers, if that is enough to be of
// use.
func lower(in *Input, need *money.Amount, budget money.Amount) bool {
	bound := in.Bound
	bound.OutputTokens = in.Rule.OutputFor(&in.Bound, budget)
	if bound.OutputTokens < MinOutput || bound.OutputTokens >= in.Bound.OutputTokens {
		return false
	}
	less, err := in.Rule.Ceiling(&bound)
	if err != nil || less >= *need {
		return false
	}
	in.Bound, *need = bound, less
	return true
}
