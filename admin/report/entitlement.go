package report

import (
	"context"
	"net/url"
	"slices"
	"strings"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/money"
	"tokenrelay/shared/store"
)

// BillingRule is how a model's calls are charged, as its customer may see it (S1-48).
type BillingRule struct {
	Model    string         `json:"model"`
	Currency string         `json:"currency"`
	Price    *CustomerPrice `json:"price" doc:"null for a virtual model: the price of the model that it chose applies"`
	Auto     *AutoModel     `json:"auto,omitempty"`
	Units    string         `json:"units"`
	Rounding string         `json:"rounding"`
	Failed   string         `json:"failed_calls"`
}

func billingRule(m *CustomerModel) BillingRule {
	return BillingRule{
		Model: m.ID, Currency: "USD", Price: m.Price, Auto: m.Auto,
		Units:    "USD per million tokens or characters; USD each for seconds, images, searches and requests",
		Rounding: "once for each call, up to the next nano-USD",
		Failed:   "a call that failed before its first output is not charged; what was produced before a call was broken off is",
	}
}

// pageOf is the part of a sorted list that follows the element called after, limit long,
// and the cursor of the next one. A name that is no longer in the list does no harm.
func pageOf[T any](list []T, name func(*T) string, after string, limit int) (page []T, next *string) {
	i, _ := slices.BinarySearchFunc(list, after, func(e T, s string) int { return strings.Compare(name(&e), s) })
	if i < len(list) && after != "" && name(&list[i]) == after {
		i++
	}
	page = list[i:]
	if len(page) > limit {
		page = page[:limit]
		last := name(&page[limit-1])
		next = &last
	}
	return page, next
}

// BillingRules lists the rules of all models that the key's customer may see, by model.
func (s *Service) BillingRules(ctx context.Context, key *store.KeyRow, after string, limit int) (list []BillingRule, next *string, err error) {
	models, err := s.Models(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	models, next = pageOf(models, func(m *CustomerModel) string { return m.ID }, after, limit)
	list = make([]BillingRule, len(models))
	for i := range models {
		list[i] = billingRule(&models[i])
	}
	return list, next, nil
}

// BillingRule returns that of one model by id or alias.
func (s *Service) BillingRule(ctx context.Context, key *store.KeyRow, name string) (*BillingRule, error) {
	m, err := s.Model(ctx, key, name)
	if err != nil {
		return nil, err
	}
	r := billingRule(m)
	return &r, nil
}

// ModelTag is a tag and how many of the visible models have it (S1-25).
type ModelTag struct {
	Tag    string `json:"tag"`
	Models int64  `json:"models"`
}

// ModelTags lists the tags of the models that the key's customer may see, by name.
func (s *Service) ModelTags(ctx context.Context, key *store.KeyRow) ([]ModelTag, error) {
	models, err := s.Models(ctx, key)
	if err != nil {
		return nil, err
	}
	counts := map[string]int64{}
	for i := range models {
		for _, tag := range models[i].Tags {
			counts[tag]++
		}
	}
	list := make([]ModelTag, 0, len(counts))
	for tag, n := range counts {
		list = append(list, ModelTag{Tag: tag, Models: n})
	}
	slices.SortFunc(list, func(a, b ModelTag) int { return strings.Compare(a.Tag, b.Tag) })
	return list, nil
}

// ModelAccess says whether a key can call a model (S1-36).
type ModelAccess struct {
	Model    string   `json:"model"`
	Callable bool     `json:"callable"`
	Blocked  []Reason `json:"blocking_reasons"` // empty when callable
}

// Reason is why a call would be refused: the code that it would be answered.
type Reason struct {
	Code       string `json:"code"`
	HTTPStatus int    `json:"http_status"`
	Message    string `json:"message"`
}

func reason(code apierr.Code, message string) Reason {
	return Reason{Code: string(code), HTTPStatus: code.Status(), Message: message}
}

// KeyAccess lists, for one of the customer's keys, the models that the customer may see,
// by id. scope and status are the key's.
func (s *Service) KeyAccess(ctx context.Context, caller *store.KeyRow, publicID, after string, limit int) (list []ModelAccess, next *string, err error) {
	k, err := s.db.KeyByPublicID(ctx, caller.ClientID, publicID)
	if err != nil {
		return nil, nil, err
	}
	c, err := s.Catalogue(ctx)
	if err != nil {
		return nil, nil, err
	}
	now := s.now()
	var visible []*Model
	for _, m := range c.Models {
		if c.Visible(m, caller.GroupID, now) {
			visible = append(visible, m)
		}
	}
	visible, next = pageOf(visible, func(m **Model) string { return (*m).PublicID }, after, limit)
	own := keyReasons(&k, now)
	list = make([]ModelAccess, len(visible))
	for i, m := range visible {
		reasons := append(slices.Clone(own), c.modelReasons(m, k.Models, caller)...)
		list[i] = ModelAccess{Model: m.PublicID, Callable: len(reasons) == 0, Blocked: noneNotNil(reasons)}
	}
	return list, next, nil
}

// keyReasons is what stops a key on all models.
func keyReasons(k *store.Key, now time.Time) (list []Reason) {
	switch keyStatus(k.Status, k.ExpiresAt, now) {
	case "revoked", "disabled":
		list = append(list, reason(apierr.KeyDisabled, "The API key is disabled."))
	case "expired":
		list = append(list, reason(apierr.KeyExpired, "The API key has expired."))
	}
	if k.MonthlyCap != store.None && k.SpentMonth >= k.MonthlyCap {
		list = append(list, reason(apierr.MonthlyCapReached, "The API key's monthly spend cap is reached."))
	}
	if k.TotalQuota != store.None && k.SpentTotal >= k.TotalQuota {
		list = append(list, reason(apierr.KeyQuotaReached, "The API key's total quota is used up."))
	}
	return list
}

// modelReasons is what stops calls of a visible model by a key with this scope; client
// is any key of the same customer.
func (c *Catalogue) modelReasons(m *Model, scope []string, client *store.KeyRow) (list []Reason) {
	switch {
	case !inScope(scope, m.PublicID):
		list = append(list, reason(apierr.ModelNotAllowed, "The API key is scoped away from this model."))
	case !inScope(client.ClientModels, m.PublicID):
		list = append(list, reason(apierr.ModelNotAllowed, "The account's security policy leaves this model out."))
	}
	served, regions := c.served(m), regionsOf(client)
	switch {
	case len(regions) > 0 && !slices.ContainsFunc(served, func(m *Model) bool {
		return slices.ContainsFunc(regions, func(r string) bool { return slices.Contains(m.Regions, r) })
	}):
		list = append(list, reason(apierr.InvalidRequest, "Nothing serves this model in a region of the account's routing policy."))
	case !slices.ContainsFunc(served, func(m *Model) bool { return m.Keyed }):
		list = append(list, reason(apierr.NoProviderKeys, "No active API keys: nothing serves this model at the moment."))
	case !slices.ContainsFunc(served, func(m *Model) bool { return m.Open }):
		list = append(list, reason(apierr.ProviderPaused, "Everything that serves this model is paused."))
	}
	return list
}

func noneNotNil(list []Reason) []Reason {
	if list == nil {
		return []Reason{}
	}
	return list
}

// Preflight says whether a call of a model would be let in, where to send it and where to
// find its charge (S1-24, S1-B10).
type Preflight struct {
	Model               string       `json:"model"`
	Ready               bool         `json:"ready"`
	BlockingReasons     []Reason     `json:"blocking_reasons"` // empty when ready
	Endpoints           ProtocolURLs `json:"protocol_urls"`
	Available           money.Amount `json:"available"`
	Currency            string       `json:"currency"`
	PriceVersion        *string      `json:"price_version"` // null for a virtual model
	BillingDetailURL    string       `json:"billing_detail_url"`
	MonthlyStatementURL string       `json:"monthly_statement_url"`
}

// ProtocolURLs says what to call for each protocol: method and URL.
type ProtocolURLs struct {
	OpenAI    string `json:"openai" example:"POST https://relay.example/v1/chat/completions"`
	Anthropic string `json:"anthropic" example:"POST https://relay.example/v1/messages"`
	DashScope string `json:"dashscope" example:"POST https://relay.example/api/v1/services/aigc/text-generation/generation"`
}

// Preflight checks a model by id or alias for the key that asks; store.ErrNotFound for
// one that its customer may not see. publicURL is the relay's address. What depends on
// the request (its ceiling, rates) is not looked at.
func (s *Service) Preflight(ctx context.Context, key *store.KeyRow, name, publicURL string) (*Preflight, error) {
	m, err := s.Model(ctx, key, name)
	if err != nil {
		return nil, err
	}
	c, err := s.Catalogue(ctx)
	if err != nil {
		return nil, err
	}
	k, err := s.db.KeyByPublicID(ctx, key.ClientID, key.PublicID)
	if err != nil {
		return nil, err
	}
	balance, err := s.Balance(ctx, key)
	if err != nil {
		return nil, err
	}
	base := strings.TrimSuffix(publicURL, "/")
	p := &Preflight{
		Model: m.ID, BlockingReasons: keyReasons(&k, s.now()), Available: balance.Available, Currency: balance.Currency,
		Endpoints: ProtocolURLs{
			OpenAI: "POST " + base + "/v1/chat/completions", Anthropic: "POST " + base + "/v1/messages",
			DashScope: "POST " + base + "/api/v1/services/aigc/text-generation/generation",
		},
		BillingDetailURL:    base + "/openapi/v1/billing/detail?model=" + url.QueryEscape(m.ID),
		MonthlyStatementURL: base + "/openapi/v1/billing/monthly-statement?month=" + s.now().UTC().Format("2006-01"),
	}
	if m.Price != nil {
		p.PriceVersion = &m.Price.Version
	}
	if found := c.Find(m.ID); found != nil {
		p.BlockingReasons = append(p.BlockingReasons, c.modelReasons(found, key.Models, key)...)
	}
	if balance.Available <= 0 {
		p.BlockingReasons = append(p.BlockingReasons, reason(apierr.InsufficientBalance, "Insufficient credit balance: balance too low for any call."))
	}
	p.Ready, p.BlockingReasons = len(p.BlockingReasons) == 0, noneNotNil(p.BlockingReasons)
	return p, nil
}

// BalanceCheck says whether an amount could be paid now (S1-29).
type BalanceCheck struct {
	Currency  string       `json:"currency"`
	Amount    money.Amount `json:"amount"`
	Available money.Amount `json:"available"`
	Covered   bool         `json:"covered"`
	Missing   money.Amount `json:"missing"` // 0 when covered
}

// CheckBalance compares an amount with what is available. It sets nothing aside.
func (s *Service) CheckBalance(ctx context.Context, key *store.KeyRow, amount money.Amount) (*BalanceCheck, error) {
	b, err := s.Balance(ctx, key)
	if err != nil {
		return nil, err
	}
	out := &BalanceCheck{Currency: b.Currency, Amount: amount, Available: b.Available, Covered: b.Available >= amount}
	if !out.Covered {
		out.Missing, err = amount.Sub(b.Available)
	}
	return out, err
}

// Resource is one entry of the catalogue of resources (S1-19). Models are the only ones
// that this relay has; the other types exist for clients that ask for them.
type Resource struct {
	ID          string   `json:"id" example:"model:gpt-5-mini"`
	Type        string   `json:"type" enum:"model,mcp,skill,agent"`
	Name        string   `json:"name"`
	Tags        []string `json:"tags"`
	Callable    bool     `json:"callable"`
	Description string   `json:"description"`
}

// ResourceType is a type and how many resources of it the customer may see (S1-21).
type ResourceType struct {
	Type  string `json:"type" enum:"model,mcp,skill,agent"`
	Name  string `json:"name"`
	Count int64  `json:"count"`
}

// The types of resources.
const (
	ResourceModel = "model"
	ResourceMCP   = "mcp"
	ResourceSkill = "skill"
	ResourceAgent = "agent"
)

func resource(m *CustomerModel) Resource {
	r := Resource{ID: ResourceModel + ":" + m.ID, Type: ResourceModel, Name: m.ID, Tags: m.Tags, Callable: m.Callable, Description: "Language model"}
	if m.Auto != nil {
		r.Description = "Chooses one of: " + strings.Join(m.Auto.Models, ", ")
	}
	return r
}

// Resources lists the resources of a type ("" = all) that the key's customer may see, by id.
func (s *Service) Resources(ctx context.Context, key *store.KeyRow, kind, after string, limit int) (list []Resource, next *string, err error) {
	list = []Resource{}
	if kind != "" && kind != ResourceModel {
		return list, nil, nil
	}
	models, err := s.Models(ctx, key)
	if err != nil {
		return nil, nil, err
	}
	for i := range models {
		list = append(list, resource(&models[i]))
	}
	list, next = pageOf(list, func(r *Resource) string { return r.ID }, after, limit)
	return list, next, nil
}

// Resource returns one by its id.
func (s *Service) Resource(ctx context.Context, key *store.KeyRow, id string) (*Resource, error) {
	name, ok := strings.CutPrefix(id, ResourceModel+":")
	if !ok {
		return nil, store.ErrNotFound
	}
	m, err := s.Model(ctx, key, name)
	if err != nil {
		return nil, err
	}
	r := resource(m)
	return &r, nil
}

// ResourceTypes lists all types.
func (s *Service) ResourceTypes(ctx context.Context, key *store.KeyRow) ([]ResourceType, error) {
	models, err := s.Models(ctx, key)
	if err != nil {
		return nil, err
	}
	return []ResourceType{
		{ResourceModel, "Models", int64(len(models))}, {ResourceMCP, "MCP servers", 0}, {ResourceSkill, "Skills", 0}, {ResourceAgent, "Agents", 0},
	}, nil
}
