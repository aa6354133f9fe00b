package protocol

import (
	"net/http"
	"time"

	"tokenrelay/proxy/protocol/walk"
)

// Problem is an upstream's error body, read from whatever shape it has
// (protocols 9). The texts are still JSON-escaped and point into the body.
type Problem struct {
	Readable bool   // some error was found
	Status   int    // a status that the body itself names, 0 = none
	Type     []byte // type, or Google's status
	Code     []byte // code, as text or digits
	Message  []byte
	Param    []byte
	Retry    int // seconds until a retry, as the body says, 0 = not said
}

// ReadProblem reads an error body. It never fails: what is not understood stays
// empty.
func ReadProblem(body []byte) (p Problem) {
	i := walk.Space(body, 0)
	if i < len(body) && body[i] == '[' { // Gemini wraps it in an array
		i = walk.Space(body, i+1)
	}
	if i >= len(body) || body[i] != '{' {
		return p
	}
	it := walk.Object(body, i)
	for it.Next() {
		v := it.Value()
		text, isText := walk.Text(v)
		switch string(it.Key) {
		case "error":
			switch {
			case isText: // xAI: the error is the message
				p.Message, p.Readable = text, true
			case len(v) > 0 && v[0] == '{':
				p.inner(v)
			}
		case "detail": // Mistral, Voyage
			p.Readable = true
			if isText {
				p.Message = text
			}
		case "message":
			if isText {
				p.Message, p.Readable = text, true
			}
		case "type", "error_type":
			if isText && len(p.Type) == 0 && string(text) != "error" {
				p.Type = text
			}
		case "code":
			p.code(v)
		case "param":
			if isText && len(p.Param) == 0 {
				p.Param = text
			}
		}
	}
	return p
}

// inner reads the object under error.
func (p *Problem) inner(v []byte) {
	p.Readable = true
	it := walk.Object(v, 0)
	for it.Next() {
		v := it.Value()
		text, isText := walk.Text(v)
		switch string(it.Key) {
		case "message":
			if isText {
				p.Message = text
			}
		case "type", "status":
			if isText {
				p.Type = text
			}
		case "code":
			p.Code = nil
			p.code(v)
		case "param":
			if isText {
				p.Param = text
			}
		case "details":
			p.Retry = retryDelay(v)
		}
	}
}

// code reads a code that is a text or a number; a number that is an HTTP status is
// one.
func (p *Problem) code(v []byte) {
	if text, ok := walk.Text(v); ok {
		if len(p.Code) == 0 {
			p.Code, p.Readable = text, true
		}
		return
	}
	if n, ok, _ := walk.Count(v); ok {
		if n >= 400 && n < 600 {
			p.Status = int(n)
		}
		if len(p.Code) == 0 {
			p.Code = v
		}
	}
}

// retryDelay finds Google's retryDelay ("34.07s"), rounded up.
func retryDelay(v []byte) int {
	const name = `"retryDelay"`
	for i := 0; i+len(name) < len(v); i++ {
		if v[i] == '"' && string(v[i:i+len(name)]) == name {
			j := i + len(name)
			for j < len(v) && (v[j] == ' ' || v[j] == ':' || v[j] == '"') {
				j++
			}
			return Seconds(v[j:])
		}
	}
	return 0
}

// Seconds reads the number of seconds at the start of v, a fraction rounded up, 0
// if there is none. At most an hour.
func Seconds(v []byte) int {
	n, i := 0, 0
	for ; i < len(v) && v[i] >= '0' && v[i] <= '9' && n < 3600; i++ {
		n = n*10 + int(v[i]-'0')
	}
	if i == 0 {
		return 0
	}
	if i < len(v) && v[i] == '.' {
		for i++; i < len(v) && v[i] >= '0' && v[i] <= '9'; i++ {
			if v[i] != '0' {
				n++
				break
			}
		}
	}
	return min(n, 3600)
}

// RetryAfter reads the header retry-after: seconds or a date; 0 = none.
func RetryAfter(v []byte, now time.Time) int {
	if n := Seconds(v); n > 0 {
		return n
	}
	if len(v) > 8 && v[0] >= 'A' && v[0] <= 'Z' {
		if at, err := http.ParseTime(string(v)); err == nil && at.After(now) {
			return int(min(time.Hour, at.Sub(now)+time.Second-1) / time.Second)
		}
	}
	return 0
}

// Says reports whether any of the problem's texts contains one of the words; the
// words are in lower case, the case of the texts does not matter.
func (p *Problem) Says(words ...string) bool {
	for _, text := range [...][]byte{p.Code, p.Type, p.Message} {
		for _, w := range words {
			if containsFold(text, w) {
				return true
			}
		}
	}
	return false
}

// CodeIs reports whether the code or the type is one of the words, case ignored.
func (p *Problem) CodeIs(words ...string) bool {
	for _, text := range [...][]byte{p.Code, p.Type} {
		for _, w := range words {
			if len(text) == len(w) && containsFold(text, w) {
				return true
			}
		}
	}
	return false
}

func containsFold(text []byte, word string) bool {
	for i := 0; i+len(word) <= len(text); i++ {
		j := 0
		for j < len(word) {
			c := text[i+j]
			if c >= 'A' && c <= 'Z' {
				c += 'a' - 'A'
			}
			if c != word[j] {
				break
			}
			j++
		}
		if j == len(word) {
			return true
		}
	}
	return false
}

// defaultCool is how long a provider key rests after a 429 that does not say.
const defaultCool = 5

// Classify says what to do about an upstream's error, whatever provider sent it:
// by body first, by status where the body says nothing (protocols 9). status 0
// means an error inside a stream. The formats' packages wrap it.
func Classify(status int, retryAfter []byte, p *Problem) Class {
	if status == 0 || status == 200 {
		status = p.Status
	}
	cool := RetryAfter(retryAfter, time.Now())
	if cool == 0 {
		cool = p.Retry
	}
	account := Class{Fault: FaultAccount, Failover: true, Key: KeyPermanent}
	key := Class{Fault: FaultKey, Failover: true, Key: KeyPermanent}
	missing := Class{Fault: FaultModelMissing, Failover: true}
	switch {
	case p.CodeIs("insufficient_quota", "arrearage", "exceeded_current_quota_error", "billing_error", "1113",
		"billing_hard_limit_reached", "account_deactivated", "billing_not_active"),
		p.Says("credit balance is too low", "insufficient balance", "exceeded your current quota", "account is not active",
			"account balance", "overdue payment", "insufficient credits", "out of credits"),
		status == 402:
		return account
	case p.CodeIs("content_filter", "content_policy_violation", "datainspectionfailed", "data_inspection_failed", "1301",
		"responsibleaipolicyviolation", "moderation_blocked"), p.Says("data may contain inappropriate content"),
		status == 403 && p.Says("flagged"):
		return Class{Fault: FaultPolicy, PassOn: true, Status: 400}
	case p.CodeIs("model_not_found", "modelnotfound", "model.accessdenied", "model_not_supported", "deploymentnotfound"),
		(status == 403 || status == 400) && p.Says("does not have access to model", "model not exist"):
		return missing
	case p.CodeIs("tool_use_failed"):
		return Class{Fault: FaultModel, Failover: true, PassOn: true, Status: 400}
	case p.CodeIs("invalid_api_key", "invalidapikey", "incorrect_api_key_error", "invalid_authentication_error",
		"authentication_error", "unauthenticated"),
		p.Says("api_key_invalid", "incorrect api key", "invalid api key", "invalid api-key", "api key not valid",
			"invalid x-api-key", "api key expired"),
		status == 401 || status == 403:
		return key
	case status == 404 || status == 410 || p.CodeIs("not_found_error", "not_found"):
		return missing
	case status == 429 || p.CodeIs("rate_limit_exceeded", "rate_limit_error", "resource_exhausted", "rate_limit_reached_error"):
		if cool == 0 {
			cool = defaultCool
		}
		return Class{Fault: FaultRateLimited, Failover: true, Key: KeyTransient, CoolSeconds: cool}
	case status == 408 || status == 409 || status == 425 || status >= 500 || p.CodeIs("overloaded_error", "api_error", "server_error", "timeout_error"):
		return Class{Fault: FaultServer, Failover: true, CoolSeconds: cool}
	case status >= 400 && (p.Readable || status == 413),
		status == 0 && p.CodeIs("invalid_request_error", "invalid_argument", "request_too_large"):
		if status == 0 {
			status = 400
		}
		return Class{Fault: FaultClient, PassOn: true, Status: status}
	}
	// A page of some CDN, a redirect (never followed), a status that makes no sense.
	return Class{Fault: FaultServer, Failover: true, CoolSeconds: cool}
}
