// Package apierr is the one catalogue of the errors that the relay makes: code,
// status, the text a client sees, and how each protocol renders it. Causes go to
// the log only.
package apierr

//go:generate go run ./errorsdoc ../../docs/errors.md

// Code is the stable name of an error: the header x-relay-error, the member
// relay_code, the code of a management envelope.
type Code string

// The codes.
const (
	InvalidAPIKey       Code = "invalid_api_key"
	KeyDisabled         Code = "key_disabled"
	KeyExpired          Code = "key_expired"
	InsufficientBalance Code = "insufficient_balance"
	MonthlyCapReached   Code = "monthly_cap_reached"
	KeyQuotaReached     Code = "key_quota_reached"
	ModelNotAllowed     Code = "model_not_allowed"
	GroupNotAllowed     Code = "group_not_allowed"
	IPNotAllowed        Code = "ip_not_allowed"
	RoleNotAllowed      Code = "role_not_allowed"
	ContentBlocked      Code = "content_blocked"
	PolicyUnavailable   Code = "policy_unavailable"
	UnknownModelPricing Code = "unknown_model_pricing"
	InvalidRequest      Code = "invalid_request"
	BodyTooLarge        Code = "body_too_large"
	RateLimitedIP       Code = "rate_limited_ip"
	RateLimitedRPM      Code = "rate_limited_rpm"
	RateLimitedTPM      Code = "rate_limited_tpm"
	RateLimitedGroup    Code = "rate_limited_group"
	RateLimitedConc     Code = "rate_limited_concurrency"
	RateLimitedDaily    Code = "rate_limited_daily"
	ProviderPaused      Code = "provider_paused"
	UpstreamError       Code = "upstream_error"
	NoHealthyUpstream   Code = "no_healthy_upstream"
	NoProviderKeys      Code = "no_provider_keys"
	MoneyUnavailable    Code = "money_unavailable"
	Draining            Code = "draining"
	Overloaded          Code = "overloaded"
	RequestTimeout      Code = "request_timeout"
	IdempotencyConflict Code = "idempotency_conflict"
	MaxChargeExceeded   Code = "max_charge_exceeded"
	PriceChanged        Code = "price_changed"
	UnsupportedEncoding Code = "unsupported_encoding"
	UpstreamTimeout     Code = "upstream_timeout"
	NotFound            Code = "not_found"
	MethodNotAllowed    Code = "method_not_allowed"
	NotImplemented      Code = "not_implemented"
	HeadersTooLarge     Code = "headers_too_large"
	ProxyError          Code = "proxy_error"
)

// Entry is one line of the catalogue.
type Entry struct {
	Code   Code
	Status int
	Text   string // what the client reads when the place that refuses says nothing better
	When   string // for docs/errors.md
	limit  string // rate limits: the word in the brackets
}

// catalogue lists every error the relay makes (interface 7).
var catalogue = []Entry{
	{Code: InvalidAPIKey, Status: 401, Text: "Invalid API key. Check that the key is complete and that it is sent as 'Authorization: Bearer' or 'x-api-key'.", When: "The key is missing, malformed or unknown."},
	{Code: KeyDisabled, Status: 401, Text: "This API key is disabled or revoked.", When: "The key is disabled or revoked, or its client is disabled."},
	{Code: KeyExpired, Status: 401, Text: "This API key has expired.", When: "The key's expiry has passed."},
	{Code: InsufficientBalance, Status: 402, Text: "Insufficient credit balance: balance too low for this request's reservation ceiling.", When: "The available balance is below the most this request can cost. Top up, or lower the output cap."},
	{Code: MonthlyCapReached, Status: 403, Text: "This API key is blocked: monthly spend cap reached. It works again next calendar month (UTC), or when its cap is raised.", When: "This key's spend of the calendar month (UTC) has reached its cap."},
	{Code: KeyQuotaReached, Status: 403, Text: "This API key is blocked: total quota reached. It works again when its quota is raised.", When: "This key's spend has reached its total quota."},
	{Code: ModelNotAllowed, Status: 403, Text: "This API key is not allowed to use this model.", When: "The key's model scope leaves the model out."},
	{Code: GroupNotAllowed, Status: 403, Text: "The current group has no access to this model.", When: "The client's group leaves the model out."},
	{Code: IPNotAllowed, Status: 403, Text: "This API key may not be used from this IP address.", When: "The key lists allowed addresses and the caller's is not one of them."},
	{Code: RoleNotAllowed, Status: 403, Text: "The role of this account does not allow this.", When: "A person of the console whose role does not allow the call; the management API only."},
	{Code: ContentBlocked, Status: 400, Text: "The content was blocked by the safety policy of this account.", When: "The client's safety policy refused the content."},
	{Code: PolicyUnavailable, Status: 503, Text: "Who judges requests by the policy of this account could not be asked.", When: "The client's policy has requests judged by a moderation model or a webhook, which could not be asked in time or gave no readable answer, and the policy refuses such requests. Nobody served the request and nothing is charged."},
	{Code: UnknownModelPricing, Status: 400, Text: "Unknown model pricing: the model does not exist or has no price.", When: "The model is unknown or has no price; an unpriced model is never served."},
	{Code: InvalidRequest, Status: 400, Text: "The request is invalid.", When: "The request is unreadable or impossible; the message names the field."},
	{Code: BodyTooLarge, Status: 413, Text: "The request body is too large.", When: "The body is over the limit."},
	{Code: RateLimitedIP, Status: 429, limit: "ip", When: "Too many requests a minute from one IP address."},
	{Code: RateLimitedRPM, Status: 429, limit: "rpm", When: "Too many requests a minute with this key."},
	{Code: RateLimitedTPM, Status: 429, limit: "tpm", When: "Too many tokens a minute with this key."},
	{Code: RateLimitedGroup, Status: 429, limit: "group", When: "The limit of the client's group is reached."},
	{Code: RateLimitedConc, Status: 429, limit: "concurrency", When: "Too many requests of this key are running, or its large bodies, which were of no use, wait for too long a turn."},
	{Code: RateLimitedDaily, Status: 429, limit: "daily", When: "The day's spend of the key or group is reached."},
	{Code: ProviderPaused, Status: 429, Text: "Provider paused: everything that serves this model is paused. Try again later or use another model.", When: "Every candidate is paused. No Retry-After unless it resumes by itself."},
	{Code: UpstreamError, Status: 502, Text: "The upstream provider failed. Nothing was charged for this attempt; try again or use another model.", When: "An attempt was made and the last one failed; the hold is released."},
	{Code: NoHealthyUpstream, Status: 503, Text: "No healthy upstream for this model at the moment. Try again later or use another model.", When: "Nothing could be tried, or every attempt was turned away for its rate."},
	{Code: NoProviderKeys, Status: 503, Text: "No active API keys", When: "No provider of the model has an active key; the operator adds one."},
	{Code: MoneyUnavailable, Status: 503, Text: "Billing is temporarily unavailable. Nothing was charged; try again shortly.", When: "The balance cannot be reached at the moment, or usage cannot be recorded."},
	{Code: Draining, Status: 503, Text: "The server is shutting down. Try again on a new connection.", When: "This proxy is shutting down."},
	{Code: Overloaded, Status: 503, Text: "The server is overloaded. Try again shortly.", When: "Memory, connections or look-ups are at their limit."},
	{Code: RequestTimeout, Status: 408, Text: "The request was not received in time.", When: "Headers or body came too slowly."},
	{Code: IdempotencyConflict, Status: 409, Text: "This Idempotency-Key was used for another request.", When: "The same Idempotency-Key came with another body or on another path within 24 hours, or the first request's answer cannot be repeated: it is longer than 1 MiB, the customer's answers are not kept, or the proxy died when it had charged it and not yet kept it. The message names the first request."},
	{Code: MaxChargeExceeded, Status: 402, Text: "This request can cost more than x-relay-max-charge allows.", When: "The ceiling is above the header x-relay-max-charge."},
	{Code: PriceChanged, Status: 409, Text: "The price of this model has changed since the version in x-relay-price-version.", When: "The header x-relay-price-version names another price."},
	{Code: UnsupportedEncoding, Status: 415, Text: "A compressed request body is not supported.", When: "The request has a Content-Encoding."},
	{Code: UpstreamTimeout, Status: 504, Text: "The upstream provider did not answer in time.", When: "The last attempt timed out; the hold is released."},
	{Code: NotFound, Status: 404, Text: "Not found.", When: "Nobody serves this path, or the object does not exist for this client."},
	{Code: MethodNotAllowed, Status: 405, Text: "This method is not allowed here.", When: "The path exists with another method."},
	{Code: NotImplemented, Status: 501, Text: "This endpoint is not supported yet.", When: "A known endpoint that is not implemented."},
	{Code: HeadersTooLarge, Status: 431, Text: "The request headers are too large.", When: "The headers are over the limit."},
	{Code: ProxyError, Status: 500, Text: "Proxy error", When: "Our own fault; the message names the request id."},
}

var entries = func() map[Code]*Entry {
	m := make(map[Code]*Entry, len(catalogue))
	for i := range catalogue {
		m[catalogue[i].Code] = &catalogue[i]
	}
	return m
}()

// Entries is the catalogue, in the order of interface 7. It is not to be changed.
func Entries() []Entry { return catalogue }

// Known says whether the catalogue has the code.
func (c Code) Known() bool { return entries[c] != nil }

// Status is the code's HTTP status, 500 for a code outside the catalogue.
func (c Code) Status() int {
	if e := entries[c]; e != nil {
		return e.Status
	}
	return 500
}

// kind is how the protocols name a status.
type kind struct{ openAI, anthropic, dashScope, gemini string }

// kindOf names a status in every protocol (interface 7, last paragraph; statuses
// that it leaves out are named after the closest one of each protocol).
func kindOf(status int) kind {
	switch status {
	case 401:
		return kind{"authentication_error", "authentication_error", "InvalidApiKey", "UNAUTHENTICATED"}
	case 402:
		return kind{"insufficient_quota", "billing_error", "Arrearage", "RESOURCE_EXHAUSTED"}
	case 403:
		return kind{"permission_error", "permission_error", "AccessDenied", "PERMISSION_DENIED"}
	case 404:
		return kind{"invalid_request_error", "not_found_error", "InvalidParameter", "NOT_FOUND"}
	case 408:
		return kind{"invalid_request_error", "invalid_request_error", "InvalidParameter", "DEADLINE_EXCEEDED"}
	case 409:
		return kind{"invalid_request_error", "invalid_request_error", "InvalidParameter", "ABORTED"}
	case 429:
		return kind{"rate_limit_error", "rate_limit_error", "Throttling.RateQuota", "RESOURCE_EXHAUSTED"}
	case 500:
		return kind{"server_error", "api_error", "InternalError", "INTERNAL"}
	case 501:
		return kind{"invalid_request_error", "invalid_request_error", "InvalidParameter", "UNIMPLEMENTED"}
	case 502:
		return kind{"upstream_error", "api_error", "InternalError", "UNAVAILABLE"}
	case 503:
		return kind{"server_error", "api_error", "InternalError", "UNAVAILABLE"}
	case 504:
		return kind{"server_error", "api_error", "InternalError", "DEADLINE_EXCEEDED"}
	}
	if status >= 500 {
		return kind{"server_error", "api_error", "InternalError", "INTERNAL"}
	}
	return kind{"invalid_request_error", "invalid_request_error", "InvalidParameter", "INVALID_ARGUMENT"}
}

// When says in which case the code is answered.
func (c Code) When() string {
	if e := entries[c]; e != nil {
		return e.When
	}
	return ""
}
