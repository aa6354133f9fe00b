package relay

import (
	"tokenrelay/proxy/admit"
	"tokenrelay/proxy/route"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
)

// What a request says of itself in headers of the relay.
var (
	errMaxCharge    = apierr.Invalid("x-relay-max-charge", "The header x-relay-max-charge must be an amount in USD, as 0.05.")
	errConversation = apierr.Invalid("x-conversation-id", "The header x-conversation-id must be 1 to 128 printable ASCII characters.")
)

// wishes reads them.
func (x *Exchange) wishes() *apiError {
	if v := x.head.MaxCharge; v != nil {
		most, err := money.ParseUSD(string(v))
		if err != nil || most < 0 {
			return errMaxCharge
		}
		x.capped, x.maxCharge = true, most
	}
	if v := x.head.Conversation; v != nil {
		if len(v) == 0 || len(v) > maxClientID || len(clientRequestID(v)) == 0 {
			return errConversation
		}
		x.sticky = max(1, sum(uint64(x.key.ClientID), v)) // 0 is none
	}
	return nil
}

// sum is a number for a text, the same on every proxy (FNV-1a).
func sum(seed uint64, text []byte) uint64 {
	h := uint64(14695981039346656037)
	for range 8 {
		h = (h ^ seed&0xff) * 1099511628211
		seed >>= 8
	}
	for _, c := range text {
		h = (h ^ uint64(c)) * 1099511628211
	}
	return h
}

// asPriced refuses a request whose client has seen another price.
func (x *Exchange) asPriced() *apiError {
	seen := x.head.PriceVersion
	if seen == nil || string(seen) == price.VersionString(x.rule) {
		return nil
	}
	return apierr.New(apierr.PriceChanged, "The price of this model is not "+printable(seen)+" any more, it is "+price.VersionString(x.rule)+".")
}

// printable is a header's value as an answer may repeat it.
func printable(b []byte) string {
	if b = clientRequestID(b); len(b) == 0 {
		return "the one in x-relay-price-version"
	}
	return string(b)
}

// rollOut gives the request to another model if it is of the part that the client's
// routing policy gives it. Requests of one conversation, or else of one key, stay
// together. A key that may not call the other model goes on with the first.
func (x *Exchange) rollOut() {
	o := x.key.Policy.Rules.Routing.Rollout(x.model.ID)
	if o == nil || x.pinned != nil {
		return
	}
	who := x.head.Conversation
	if who == nil {
		who = []byte(x.key.PublicID)
	}
	h := sum(uint64(x.key.ClientID), who)
	h = sum(h, []byte(o.Model))
	to := x.snap.Models[o.To]
	if (h>>16)%100 >= uint64(o.Percent) || to == nil || to.Auto == nil && !x.callable(to) || admit.Scope(x.key, x.snap.Groups[x.key.GroupID], to) != nil {
		return
	}
	if c := x.peek.OutputCap(); to.MaxOutput > 0 && c > to.MaxOutput {
		return // it could not say as much
	}
	x.model, x.rolledOut = to, true
}

// regions are where the request may be served, the first that can answer; "" is any.
func (x *Exchange) regions() []string {
	if p := x.key.Policy; p != nil && len(p.Rules.Routing.Regions) > 0 {
		return p.Rules.Routing.Regions
	}
	if x.key.Region == "" {
		return anywhere
	}
	x.region[0] = x.key.Region
	return x.region[:]
}

var anywhere = []string{""}

// pickIn is route.Pick in the regions that the request may be served in.
func (x *Exchange) pickIn(f *route.Filter, again bool) (why route.Why, after int) {
	f.Sticky = x.sticky
	for i, region := range x.regions() {
		f.Region = region
		w, a := route.Pick(x.model, f, &x.tried, again, x.r.o.Catalog, route.Now(), random(), &x.choice)
		if w == route.Chosen {
			return w, a
		}
		if i == 0 {
			why, after = w, a
		} else {
			why, after = mixed(why, w), sooner(after, a)
		}
	}
	return why, after
}

// late reports whether the policy lets no other upstream be asked any more.
func (x *Exchange) late(now int64) bool {
	p := x.key.Policy
	if p == nil || p.Rules.Routing.RetryMS == 0 {
		return false
	}
	return now-x.startedMono >= p.Rules.Routing.RetryMS*1e6
}
