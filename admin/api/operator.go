package api

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"github.com/gofiber/fiber/v2"

	"tokenrelay/admin/manage"
	"tokenrelay/admin/report"
	"tokenrelay/shared/apierr"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/money"
	"tokenrelay/shared/price"
	"tokenrelay/shared/store"
)

type clientCreate struct {
	Name       string            `json:"name"`
	Group      string            `json:"group"`
	Credit     Opt[money.Amount] `json:"credit" min:"0"`
	Multiplier string            `json:"multiplier"` // decimal, "" = 1
	Note       string            `json:"note"`
}

// operatorClient is a client as operators see it.
type operatorClient struct {
	ID         string       `json:"id"`
	Name       string       `json:"name"`
	Group      string       `json:"group"`
	Multiplier string       `json:"multiplier"`
	Active     bool         `json:"active"`
	Balance    money.Amount `json:"balance"`
	Reserved   money.Amount `json:"reserved"`
	Escrowed   money.Amount `json:"escrowed"` // with proxies, as leases
}

type creditRequest struct {
	Amount money.Amount `json:"amount"`
	Note   string       `json:"note"`
	Ref    string       `json:"ref"`  // makes the booking idempotent
	Kind   string       `json:"kind"` // recharge, correction or refund; left out: by the sign
}

type creditResult struct {
	EntryID int64        `json:"entry_id"`
	Kind    string       `json:"kind"`
	Amount  money.Amount `json:"amount"`
	Balance money.Amount `json:"balance"`
}

type operatorKeyCreate struct {
	Name            string            `json:"name"`
	AllowedModelIDs []string          `json:"allowed_model_ids"`
	MonthlyCap      Opt[money.Amount] `json:"monthly_cap" min:"0"`
	TotalQuota      Opt[money.Amount] `json:"total_quota" min:"0"`
	RPM             int64             `json:"rpm" min:"0"`
	TPM             int64             `json:"tpm" min:"0"`
}

// priceSet is a new price of one model: decimal strings by class as in the catalogue
// file. Seen is the price_id that the change was made from, so that two operators do
// not overwrite each other.
type priceSet struct {
	Price       map[string]string `json:"price" required:"true"`
	Free        []string          `json:"free"`
	Tiers       []priceTier       `json:"tiers"`
	Seen        int64             `json:"seen" min:"0"` // 0: there was none
	EffectiveAt Opt[time.Time]    `json:"effective_at"` // RFC 3339, left out: now
}

type priceTier struct {
	AboveInputTokens int64             `json:"above_input_tokens"`
	Price            map[string]string `json:"price"`
}

type priceState struct {
	Model   string `json:"model"`
	PriceID int64  `json:"price_id"`
}

type providerState struct {
	Name   string `json:"name"`
	Paused bool   `json:"paused"`
}

type applyQuery struct {
	DryRun bool `query:"dry_run" doc:"true: only say what would change"`
}

type applied struct {
	Changes  []string `json:"changes"`
	Revision int64    `json:"revision"`
	DryRun   bool     `json:"dry_run"`
}

func (a *api) operatorRoutes() []Route {
	return []Route{
		read(fiber.MethodGet, "/admin/v1/proxies", "D7", "The proxies and the revision each has applied", func(c *Call) (*report.Proxies, error) {
			return a.Report.Proxies(c.Context)
		}).by(operator),
		write(fiber.MethodPost, "/admin/v1/clients", "D2", "Make a customer with its wallet", a.createClient).by(operator).only(store.RoleSupport).status(fiber.StatusCreated),
		find("/admin/v1/overview", "S3-2", "What was charged and what it cost", func(c *Call, q *overviewQuery) (*report.Whole, error) {
			return a.Report.Whole(c.Context, q.Days)
		}).by(operator),
		find("/admin/v1/clients", "D2", "The customers with their wallets", a.listClients).by(operator),
		find("/admin/v1/clients/:client_id/entries", "D2", "What was booked on a customer's wallet, newest first; calls are not among it", a.listEntries).by(operator),
		find("/admin/v1/clients/:client_id/api-keys", "S1-33", "A customer's keys, without their tokens", a.listClientKeys).by(operator),
		read(fiber.MethodGet, "/admin/v1/clients/:client_id", "D2", "One customer", func(c *Call) (*operatorClient, error) {
			client, err := a.client(c)
			if err != nil {
				return nil, err
			}
			return a.viewClient(c, client)
		}).by(operator),
		write(fiber.MethodPost, "/admin/v1/clients/:client_id/credit", "D2", "Book money on a customer's wallet", a.credit).by(operator).only(store.RoleFinance).status(fiber.StatusCreated).refuses(apierr.InsufficientBalance),
		write(fiber.MethodPost, "/admin/v1/clients/:client_id/api-keys", "S0-5", "Make a key for a customer; its token is shown this once", a.createKeyFor).by(operator).only(store.RoleSupport).status(fiber.StatusCreated),
		read(fiber.MethodPost, "/admin/v1/api-keys/:api_key_id/disable", "S0-8", "Disable a key", a.keyStatus(store.KeyDisabled)).by(operator).only(store.RoleSupport),
		read(fiber.MethodPost, "/admin/v1/api-keys/:api_key_id/enable", "S0-8", "Enable a disabled key", a.keyStatus(store.KeyActive)).by(operator).only(store.RoleSupport),
		read(fiber.MethodDelete, "/admin/v1/api-keys/:api_key_id", "S4-23", "Revoke a key for good", a.keyStatus(store.KeyRevoked)).by(operator).only(store.RoleSupport),
		read(fiber.MethodPost, "/admin/v1/providers/:provider/pause", "S4-17", "Take a provider out of service", a.pause(true)).by(operator).only(store.RoleSupport),
		read(fiber.MethodPost, "/admin/v1/providers/:provider/reactivate", "S4-18", "Bring a provider back", a.pause(false)).by(operator).only(store.RoleSupport),
		read(fiber.MethodGet, "/admin/v1/models/:model/price", "S2-6", "The price row that is in force", a.currentPrice).by(operator),
		write(fiber.MethodPost, "/admin/v1/models/:model/price", "S2-6", "Give a model a new price, now or later", a.setPrice).by(operator).only(store.RoleFinance).status(fiber.StatusCreated).refuses(apierr.PriceChanged),
		upload("/admin/v1/catalog", "S4-19", "Apply a catalogue file (YAML or JSON)", a.apply).by(operator),
		read(fiber.MethodGet, "/admin/v1/catalog", "S4-19", "The catalogue as it stands, secrets left out", a.export).by(operator),
	}
}

// overviewQuery says of how many days.
type overviewQuery struct {
	Days int `query:"days" doc:"days that are added up, today among them" min:"1" max:"200" default:"30"`
}

type operatorClients struct {
	Items      []operatorClient `json:"items"`
	NextCursor *string          `json:"next_cursor"`
}

type operatorEntry struct {
	ID     int64        `json:"id"`
	Time   time.Time    `json:"time"`
	Kind   string       `json:"kind"`
	Amount money.Amount `json:"amount"`
	Note   string       `json:"note"`
	Ref    string       `json:"ref"`
	Actor  string       `json:"actor"`
}

type operatorEntries struct {
	Items      []operatorEntry `json:"items"`
	NextCursor *string         `json:"next_cursor"`
}

func (a *api) listClients(c *Call, q *page) (*operatorClients, error) {
	after, err := q.row()
	if err != nil {
		return nil, err
	}
	rows, err := a.DB.ListClients(c.Context, after, q.Limit+1)
	if err != nil {
		return nil, err
	}
	rows, next := cut(rows, q.Limit, func(r *store.Client) int64 { return r.ID })
	list := &operatorClients{Items: make([]operatorClient, len(rows)), NextCursor: next}
	wallets := make([]int64, len(rows))
	for i := range rows {
		wallets[i] = rows[i].WalletID
	}
	balances, err := a.DB.WalletBalances(c.Context, wallets)
	if err != nil {
		return nil, err
	}
	for i := range rows {
		b := balances[rows[i].WalletID]
		list.Items[i] = *viewWallet(&rows[i], &b)
	}
	return list, nil
}

func (a *api) listEntries(c *Call, q *page) (*operatorEntries, error) {
	before, err := q.row()
	if err != nil {
		return nil, err
	}
	client, err := a.client(c)
	if err != nil {
		return nil, err
	}
	rows, err := a.DB.ListEntries(c.Context, client.WalletID, before, q.Limit+1)
	if err != nil {
		return nil, err
	}
	rows, next := cut(rows, q.Limit, func(r *store.Entry) int64 { return r.ID })
	list := &operatorEntries{Items: make([]operatorEntry, len(rows)), NextCursor: next}
	for i := range rows {
		e := &rows[i]
		list.Items[i] = operatorEntry{
			ID: e.ID, Time: e.CreatedAt.UTC(), Kind: string(e.Kind), Amount: e.Amount, Note: e.Note, Ref: e.Ref, Actor: e.Actor,
		}
	}
	return list, nil
}

func (a *api) listClientKeys(c *Call, q *page) (*keyList, error) {
	after, err := q.row()
	if err != nil {
		return nil, err
	}
	client, err := a.client(c)
	if err != nil {
		return nil, err
	}
	items, next, err := a.Report.Keys(c.Context, client.ID, after, q.Limit)
	if err != nil {
		return nil, err
	}
	return &keyList{Items: items, NextCursor: rowCursor(next)}, nil
}

func (a *api) createClient(c *Call, in *clientCreate) (*operatorClient, error) {
	n := store.NewClient{Name: in.Name, Group: in.Group, Note: in.Note}
	if in.Credit.Set && !in.Credit.Null {
		n.Credit = in.Credit.V
	}
	if in.Multiplier != "" {
		ppm, err := price.ParsePPM(in.Multiplier)
		if err != nil || ppm == 0 {
			return nil, badRequest("multiplier", "multiplier must be a decimal number above 0 with at most 6 places")
		}
		n.PPM = ppm
	}
	client, err := a.Manage.CreateClient(c.Context, c.actor(), n)
	if err != nil {
		return nil, err
	}
	return a.viewClient(c, &client)
}

// client finds the client of the path: client_<n> or a name.
func (a *api) client(c *Call) (*store.Client, error) {
	name := c.Param("client_id")
	if id, ok := report.ParseClientID(name); ok {
		client, err := a.DB.ClientByID(c.Context, id)
		return &client, err
	}
	return a.Manage.ClientByName(c.Context, name)
}

func (a *api) viewClient(c *Call, client *store.Client) (*operatorClient, error) {
	b, err := a.DB.WalletBalance(c.Context, client.WalletID)
	if err != nil {
		return nil, err
	}
	return viewWallet(client, &b), nil
}

func viewWallet(client *store.Client, b *store.Balance) *operatorClient {
	return &operatorClient{
		ID: report.ClientID(client.ID), Name: client.Name, Group: client.Group, Multiplier: price.FormatPPM(client.PPM),
		Active: client.Active, Balance: b.Balance, Reserved: b.Reserved, Escrowed: b.Leased,
	}
}

func (a *api) createKeyFor(c *Call, in *operatorKeyCreate) (*createdKey, error) {
	client, err := a.client(c)
	if err != nil {
		return nil, err
	}
	limits := store.Unlimited()
	limits.Models, limits.RPM, limits.TPM = in.AllowedModelIDs, in.RPM, in.TPM
	limits.MonthlyCap, limits.TotalQuota = amount(in.MonthlyCap), amount(in.TotalQuota)
	key, token, err := a.Manage.CreateKey(c.Context, c.actor(), manage.NewKey{ClientID: client.ID, Name: in.Name, KeyLimits: limits})
	if err != nil {
		return nil, err
	}
	return &createdKey{Token: token, APIKey: a.Report.ViewKey(&key)}, nil
}

func (a *api) keyStatus(to store.KeyStatus) func(*Call) (*report.APIKey, error) {
	return func(c *Call) (*report.APIKey, error) {
		key, err := a.Manage.SetKeyStatus(c.Context, c.actor(), 0, c.Param("api_key_id"), to)
		if err != nil {
			return nil, err
		}
		view := a.Report.ViewKey(&key)
		return &view, nil
	}
}

func (a *api) pause(paused bool) func(*Call) (*providerState, error) {
	return func(c *Call) (*providerState, error) {
		name := c.Param("provider")
		if err := a.Manage.PauseProvider(c.Context, c.actor(), name, paused); err != nil {
			return nil, err
		}
		return &providerState{Name: name, Paused: paused}, nil
	}
}

// apply takes secrets literally only: env: and file: name things of this machine,
// which a remote caller has no business to name.
func (a *api) apply(c *Call, q *applyQuery) (*applied, error) {
	file, err := catalogfile.Parse(c.c.Body())
	if err != nil {
		return nil, apierr.New(apierr.InvalidRequest, err.Error())
	}
	for _, p := range file.Providers {
		for _, k := range p.Keys {
			if strings.HasPrefix(k.Secret, "env:") || strings.HasPrefix(k.Secret, "file:") {
				return nil, apierr.Invalid("providers", "the key "+strconv.Quote(p.Name+"/"+k.Name)+" refers to env: or file:, which only `admin apply` may do")
			}
		}
	}
	done, err := a.Manage.Apply(c.Context, c.actor(), file, q.DryRun)
	if err != nil {
		return nil, err
	}
	if done.Changes == nil {
		done.Changes = []string{}
	}
	return &applied{Changes: done.Changes, Revision: done.Revision, DryRun: done.DryRun}, nil
}

func (a *api) export(c *Call) (json.RawMessage, error) {
	file, err := a.DB.ExportCatalog(c.Context)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(file)
	return body, err
}
