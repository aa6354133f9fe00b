package policy

import (
	"encoding/base64"
	"net/url"
	"strings"

	"tokenrelay/shared/seal"
)

// Moderation has the texts of requests judged by a model of the catalogue that serves
// moderations. The house pays for the judgement (rulings 3.34).
type Moderation struct {
	Model      string   `json:"model,omitempty"`      // public id, "" = nobody is asked
	Categories []string `json:"categories,omitempty"` // those that count, each with the ones below it (hate: hate/threatening); empty: what the model flags
	Action     Action   `json:"action,omitempty"`     // Flag or Block; Off: nobody is asked
	TimeoutMS  int64    `json:"timeout_ms,omitempty"` // 0 = JudgeMS
	Open       bool     `json:"open,omitempty"`       // a call passes if nobody can be asked; else it is refused
}

// On reports whether anybody is asked.
func (m *Moderation) On() bool { return m.Model != "" && m.Action != Off }

// Webhook has the texts of requests judged by a server of the customer's own.
type Webhook struct {
	URL       string `json:"url,omitempty"`        // "" = nobody is asked
	Secret    string `json:"secret,omitempty"`     // signs what is sent; sealed, see SealSecret
	TimeoutMS int64  `json:"timeout_ms,omitempty"` // 0 = JudgeMS
	Open      bool   `json:"open,omitempty"`       // as in Moderation
}

// The limits of those who judge.
const (
	JudgeMS        = 2000
	MinJudgeMS     = 50
	MaxJudgeMS     = 10_000
	MaxCategories  = 64
	MaxURL         = 2048
	MinSecretBytes = 16
	MaxSecretBytes = 256
)

// Patience is how long a judge may take, in ms.
func Patience(ms int64) int64 {
	if ms == 0 {
		return JudgeMS
	}
	return ms
}

func (m *Moderation) validate() error {
	switch m.Action {
	case Off, Flag, Block:
	default:
		return invalid("moderation flags or blocks: it cannot %.20q", string(m.Action))
	}
	if m.Action != Off && m.Model == "" {
		return invalid("moderation needs a model")
	}
	if len(m.Model) > 128 || len(m.Categories) > MaxCategories {
		return invalid("at most %d categories", MaxCategories)
	}
	for _, c := range m.Categories {
		if !ValidCategory(c) {
			return invalid("%.64q is no category", c)
		}
	}
	return validatePatience(m.TimeoutMS)
}

// ValidCategory reports whether a text can be the name of a category.
func ValidCategory(c string) bool {
	return c != "" && len(c) <= 64 && !strings.ContainsFunc(c, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '/' && r != '-' && r != '_' && r != '.'
	})
}

func (w *Webhook) validate() error {
	if w.URL == "" {
		if w.Secret != "" {
			return invalid("a secret without a URL")
		}
		return validatePatience(w.TimeoutMS)
	}
	if err := CheckURL(w.URL); err != nil {
		return err
	}
	if w.Secret == "" {
		return invalid("a webhook needs a secret")
	}
	return validatePatience(w.TimeoutMS)
}

// CheckURL says whether a webhook may stand there by its form. Where the name leads is
// looked at when it is called.
func CheckURL(text string) error {
	u, err := url.Parse(text)
	if err != nil || len(text) > MaxURL || u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.Fragment != "" {
		return invalid("a webhook needs a URL of http or https with a host, without user and fragment")
	}
	return nil
}

func validatePatience(ms int64) error {
	if ms != 0 && (ms < MinJudgeMS || ms > MaxJudgeMS) {
		return invalid("a time limit of %d to %d ms", MinJudgeMS, MaxJudgeMS)
	}
	return nil
}

func secretPlace(clientID int64) seal.Place {
	return seal.Place{Table: "client", Column: "webhook", Row: clientID, Version: 1}
}

// SealSecret is the form in which the secret of a client's webhook is stored.
func SealSecret(box *seal.Box, clientID int64, plain string) string {
	return base64.RawStdEncoding.EncodeToString(box.Seal([]byte(plain), secretPlace(clientID)))
}

// OpenSecret is the reverse of SealSecret; seal.ErrOpen for what is not this client's.
func OpenSecret(box *seal.Box, clientID int64, sealed string) ([]byte, error) {
	b, err := base64.RawStdEncoding.DecodeString(sealed)
	if err != nil {
		return nil, seal.ErrOpen
	}
	return box.Open(b, secretPlace(clientID))
}
