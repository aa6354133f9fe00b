package apierr

import (
	"fmt"
	"strconv"

	"tokenrelay/shared/money"
)

// Error is one refusal or failure on its way to a client. Errors handed out by
// this package may be shared: change a copy only. Cause is for the log and is
// never rendered.
type Error struct {
	Code       Code
	Status     int    // HTTP status
	Message    string // what the client reads; "" = the catalogue's text
	Param      string // the field at fault, "" = none
	RetryAfter int    // whole seconds for the header retry-after, 0 = none
	Cause      error  // for the log only

	// Need and Available complete the text of insufficient_balance when Message is
	// empty, so that refusing costs no formatting until it is rendered.
	Need, Available money.Amount
}

// Error is the text for logs: code, client text, cause.
func (e *Error) Error() string {
	text := string(e.Code) + ": " + string(e.AppendMessage(nil, nil))
	if e.Cause != nil {
		text += ": " + e.Cause.Error()
	}
	return text
}

// Unwrap is the cause.
func (e *Error) Unwrap() error { return e.Cause }

// New makes an error with its own client text; "" takes the catalogue's.
func New(code Code, message string) *Error {
	return &Error{Code: code, Status: code.Status(), Message: message}
}

// Newf is New with a formatted client text; not for hot paths.
func Newf(code Code, format string, args ...any) *Error {
	return New(code, fmt.Sprintf(format, args...))
}

// Invalid makes a 400 invalid_request that names the field at fault.
func Invalid(param, message string) *Error {
	return &Error{Code: InvalidRequest, Status: 400, Message: message, Param: param}
}

// WithCause returns a copy with a cause for the log.
func (e *Error) WithCause(cause error) *Error {
	c := *e
	c.Cause = cause
	return &c
}

// WithRetryAfter returns a copy that tells the client to come back in so many
// seconds.
func (e *Error) WithRetryAfter(seconds int) *Error {
	c := *e
	c.RetryAfter = seconds
	return &c
}

// WithParam returns a copy that names the field at fault.
func (e *Error) WithParam(param string) *Error {
	c := *e
	c.Param = param
	return &c
}

// The refusals that say nothing of their own, made once. They are shared: use the
// With methods, which copy, to add to them.
var (
	ErrInvalidAPIKey       = New(InvalidAPIKey, "")
	ErrKeyDisabled         = New(KeyDisabled, "")
	ErrKeyExpired          = New(KeyExpired, "")
	ErrMonthlyCapReached   = New(MonthlyCapReached, "")
	ErrKeyQuotaReached     = New(KeyQuotaReached, "")
	ErrModelNotAllowed     = New(ModelNotAllowed, "").WithParam("model")
	ErrGroupNotAllowed     = New(GroupNotAllowed, "").WithParam("model")
	ErrIPNotAllowed        = New(IPNotAllowed, "")
	ErrContentBlocked      = New(ContentBlocked, "")
	ErrUnknownModelPricing = New(UnknownModelPricing, "").WithParam("model")
	ErrBodyTooLarge        = New(BodyTooLarge, "")
	ErrProviderPaused      = New(ProviderPaused, "")
	ErrUpstreamError       = New(UpstreamError, "")
	ErrNoHealthyUpstream   = New(NoHealthyUpstream, "").WithRetryAfter(5)
	ErrNoProviderKeys      = New(NoProviderKeys, "")
	ErrMoneyUnavailable    = New(MoneyUnavailable, "").WithRetryAfter(1)
	ErrDraining            = New(Draining, "").WithRetryAfter(1)
	ErrOverloaded          = New(Overloaded, "").WithRetryAfter(1)
	ErrRequestTimeout      = New(RequestTimeout, "")
	ErrIdempotencyConflict = New(IdempotencyConflict, "")
	ErrMaxChargeExceeded   = New(MaxChargeExceeded, "")
	ErrPriceChanged        = New(PriceChanged, "")
	ErrUnsupportedEncoding = New(UnsupportedEncoding, "")
	ErrUpstreamTimeout     = New(UpstreamTimeout, "")
	ErrNotFound            = New(NotFound, "")
	ErrMethodNotAllowed    = New(MethodNotAllowed, "")
	ErrNotImplemented      = New(NotImplemented, "")
	ErrHeadersTooLarge     = New(HeadersTooLarge, "")
	ErrProxyError          = New(ProxyError, "")
)

// NotEnough is 402 insufficient_balance with what the request needs and what the
// wallet has (C7).
func NotEnough(need, available money.Amount) *Error {
	e := new(Error)
	e.SetNotEnough(need, available)
	return e
}

// SetNotEnough is NotEnough in memory of the caller.
func (e *Error) SetNotEnough(need, available money.Amount) {
	*e = Error{Code: InsufficientBalance, Status: 402, Need: need, Available: available}
}

// prepared holds the rate refusals of 0 … 60 s, which is nearly all of them.
var prepared = func() map[Code]*[61]Error {
	m := make(map[Code]*[61]Error)
	for i := range catalogue {
		if catalogue[i].limit == "" {
			continue
		}
		list := new([61]Error)
		for s := range list {
			list[s] = Error{Code: catalogue[i].Code, Status: 429, RetryAfter: s}
			list[s].Message = string(list[s].AppendMessage(nil, nil))
		}
		m[catalogue[i].Code] = list
	}
	return m
}()

// RateLimit is a 429 of one of the rate_limited_* codes; retryAfter is whole
// seconds, rounded up by the caller, at least 1 (C11, S2-13). It makes nothing for
// waits up to a minute.
func RateLimit(code Code, retryAfter int) *Error {
	retryAfter = max(1, retryAfter)
	if list := prepared[code]; list != nil && retryAfter < len(list) {
		return &list[retryAfter]
	}
	return &Error{Code: code, Status: 429, RetryAfter: retryAfter}
}

// UnknownModel is 400 unknown_model_pricing that names the model (C10).
func UnknownModel(model string) *Error {
	return New(UnknownModelPricing, "Unknown model pricing: the model '"+clip(model)+"' does not exist or has no price.").WithParam("model")
}

// ModelDenied is 403 model_not_allowed that names the model (C9).
func ModelDenied(model string) *Error {
	return New(ModelNotAllowed, "This API key is not allowed to use the model '"+clip(model)+"'.").WithParam("model")
}

// GroupDenied is 403 group_not_allowed that names the model (C9, S3-12).
func GroupDenied(model string) *Error {
	return New(GroupNotAllowed, "The current group has no access to the model '"+clip(model)+"'.").WithParam("model")
}

// clip shortens what a client sent before it is echoed.
func clip(s string) string {
	const limit = 128
	if len(s) > limit {
		return s[:limit] + "…"
	}
	return s
}

// AppendMessage appends the client's text, not escaped. The request id completes
// the text of proxy_error.
func (e *Error) AppendMessage(dst, requestID []byte) []byte {
	if e.Message != "" {
		return append(dst, e.Message...)
	}
	entry := entries[e.Code]
	switch {
	case entry == nil:
		return append(dst, "Proxy error"...)
	case entry.limit != "":
		dst = append(dst, "Rate limit exceeded ("...)
		dst = append(dst, entry.limit...)
		dst = append(dst, "). Retry after "...)
		dst = strconv.AppendInt(dst, int64(e.RetryAfter), 10)
		return append(dst, "s."...)
	case e.Code == InsufficientBalance && (e.Need != 0 || e.Available != 0):
		dst = append(dst, entry.Text[:len(entry.Text)-1]...)
		dst = append(dst, " (need $"...)
		dst = e.Need.AppendUSD(dst)
		dst = append(dst, ", available $"...)
		dst = e.Available.AppendUSD(dst)
		return append(dst, ")."...)
	case e.Code == ProxyError && len(requestID) > 0:
		dst = append(dst, entry.Text...)
		dst = append(dst, " (request "...)
		dst = append(dst, requestID...)
		return append(dst, ")."...)
	}
	return append(dst, entry.Text...)
}
