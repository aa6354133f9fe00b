// Package manage is every write of the control plane. Each checks what it is given
// and hands it to the store, which makes rows, audit row, revision and notice one
// transaction. Refusals are *apierr.Error that name the field at fault.
package manage

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/catalogfile"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// Service makes changes.
type Service struct {
	db     *store.DB
	box    *seal.Box // seals provider keys; nil where none are written
	prefix string    // of newly issued keys
	now    func() time.Time
}

// New returns a service that writes to db. box may be nil where the catalogue is
// not written; prefix begins the keys it issues.
func New(db *store.DB, box *seal.Box, prefix string, now func() time.Time) *Service {
	return &Service{db: db, box: box, prefix: prefix, now: now}
}

// maxName is the longest name of anything, in characters.
const maxName = 128

// checkText refuses text that is no line of readable characters or too long. Names
// travel into logs, CSV files and pages; a control character is never meant.
func checkText(field, text string, least, most int) error {
	switch n := utf8.RuneCountInString(text); {
	case !utf8.ValidString(text):
		return apierr.Invalid(field, field+" is not valid UTF-8")
	case n < least:
		return apierr.Invalid(field, field+" must not be empty")
	case n > most:
		return apierr.Invalid(field, fmt.Sprintf("%s has more than %d characters", field, most))
	case strings.TrimSpace(text) != text:
		return apierr.Invalid(field, field+" begins or ends with a blank")
	case strings.ContainsFunc(text, func(r rune) bool { return unicode.IsControl(r) || r == '\u2028' || r == '\u2029' || isBidi(r) }):
		return apierr.Invalid(field, field+" contains a control character")
	}
	return nil
}

// isBidi tells the characters that make text read otherwise than it is stored.
func isBidi(r rune) bool {
	return r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' || r == '\u200e' || r == '\u200f'
}

// checkCount refuses a limit that is negative or absurd. 0 means no limit.
func checkCount(field string, n int64) error {
	if n < 0 || n > 1e12 {
		return apierr.Invalid(field, field+" must be between 0 (no limit) and 1000000000000")
	}
	return nil
}

// models replaces aliases by public ids and refuses unknown names and doubles, so
// that what is stored is what the data plane compares.
func (s *Service) models(ctx context.Context, field string, names []string) ([]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if len(names) > maxModels {
		return nil, apierr.Invalid(field, fmt.Sprintf("%s has more than %d models", field, maxModels))
	}
	rows, err := s.db.LoadCatalog(ctx)
	if err != nil {
		return nil, fmt.Errorf("cannot read the models: %w", err)
	}
	ids := make(map[string]string, 2*len(rows.Models))
	for i := range rows.Models {
		m := &rows.Models[i]
		ids[m.PublicID] = m.PublicID
		for _, alias := range m.Aliases {
			ids[alias] = m.PublicID
		}
	}
	out := make([]string, 0, len(names))
	seen := make(map[string]bool, len(names))
	for _, name := range names {
		id, ok := ids[name]
		if !ok {
			return nil, apierr.Invalid(field, fmt.Sprintf("%s: there is no model %q", field, clip(name)))
		}
		if !seen[id] {
			seen[id] = true
			out = append(out, id)
		}
	}
	return out, nil
}

const maxModels = 500

// ResolveModels is names as public ids, each once; an unknown one is refused.
func (s *Service) ResolveModels(ctx context.Context, field string, names []string) ([]string, error) {
	return s.models(ctx, field, names)
}

func clip(s string) string {
	const most = 64
	if len(s) > most {
		return s[:most] + "…"
	}
	return s
}

// refused turns a refusal of the store into one for the caller: what is what the
// write was about ("the client"), name what it is called.
func refused(err error, what, name string) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return apierr.New(apierr.NotFound, fmt.Sprintf("There is no %s %q.", what, clip(name))).WithCause(err)
	case errors.Is(err, store.ErrExists):
		return apierr.Invalid("name", fmt.Sprintf("%s %q exists already", what, clip(name))).WithCause(err)
	case errors.Is(err, store.ErrInsufficient):
		return apierr.New(apierr.InsufficientBalance, fmt.Sprintf("The wallet of %s %q does not hold that much.", what, clip(name))).WithCause(err)
	case errors.Is(err, store.ErrInvalid):
		return apierr.Invalid("", fmt.Sprintf("%s %q: a value is out of range", what, clip(name))).WithCause(err)
	}
	return err
}

// Apply brings the catalogue to what the file says. The secrets in it must be
// resolved already.
func (s *Service) Apply(ctx context.Context, actor store.Actor, f *catalogfile.File, dryRun bool) (store.Applied, error) {
	applied, err := s.db.ApplyCatalog(ctx, actor, f, s.box, dryRun)
	if err != nil {
		return store.Applied{}, fmt.Errorf("cannot apply the catalogue: %w", err)
	}
	return applied, nil
}

// PauseProvider takes a provider out of service or brings it back.
func (s *Service) PauseProvider(ctx context.Context, actor store.Actor, slug string, paused bool) error {
	return refused(s.db.PauseProvider(ctx, actor, slug, paused), "provider", slug)
}

// ProxyLost declares a proxy dead for good and frees what it had borrowed.
func (s *Service) ProxyLost(ctx context.Context, actor store.Actor, name string) (store.Closed, error) {
	closed, err := s.db.ProxyLost(ctx, actor, name)
	return closed, refused(err, "proxy", name)
}
