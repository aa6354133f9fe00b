package report

import (
	"context"
	"encoding/json"
	"errors"
	"time"

	"tokenrelay/shared/store"
)

// EventSettings is what operators set about events, kept as the setting "events".
type EventSettings struct {
	ErrorPercent    int      `json:"error_percent" doc:"of the calls of a model in this hour and the last that fail, from which on it is told; 0: never"`
	ProviderPercent int      `json:"provider_error_percent" doc:"the same of attempts at a provider"`
	Least           int      `json:"min_calls" doc:"calls or attempts before a share says anything"`
	Mail            bool     `json:"mail" doc:"operators are told by mail"`
	Recipients      []string `json:"recipients" doc:"empty: every active admin"`
}

// ReadEventSettings reads them, the defaults where none were set.
func ReadEventSettings(ctx context.Context, db *store.DB) (EventSettings, error) {
	s := EventSettings{ErrorPercent: 20, ProviderPercent: 50, Least: 50, Mail: true, Recipients: []string{}}
	text, err := db.Setting(ctx, "events")
	switch {
	case errors.Is(err, store.ErrNotFound):
		return s, nil
	case err != nil:
		return s, err
	}
	return s, json.Unmarshal(text, &s)
}

// EventSettings reads them.
func (s *Service) EventSettings(ctx context.Context) (*EventSettings, error) {
	out, err := ReadEventSettings(ctx, s.db)
	return &out, err
}

// Registration is whether strangers may make an account.
type Registration struct {
	Open  bool   `json:"open"`
	Group string `json:"group" doc:"of new customers"`
}

// Registration reads it: open, into the group default, where nothing was set.
func (s *Service) Registration(ctx context.Context) (*Registration, error) {
	r := &Registration{Open: true, Group: "default"}
	text, err := s.db.Setting(ctx, "registration")
	switch {
	case errors.Is(err, store.ErrNotFound):
		return r, nil
	case err != nil:
		return nil, err
	}
	return r, json.Unmarshal(text, r)
}

// CustomerEvent is something that happened which its customer should know.
type CustomerEvent struct {
	ID      int64             `json:"id"`
	Time    time.Time         `json:"time"`
	Date    string            `json:"date" doc:"day (UTC) that it is counted for: once for each subject" example:"2026-11-30"`
	Kind    string            `json:"kind" enum:"low_balance,cap_near,cap_reached,daily_limit,statement_ready"`
	Subject string            `json:"subject"`
	Detail  map[string]string `json:"detail"`
}

// OperatorEvent is any event.
type OperatorEvent struct {
	ID       int64             `json:"id"`
	Time     time.Time         `json:"time"`
	Date     string            `json:"date" example:"2026-11-30"`
	Kind     string            `json:"kind" enum:"low_balance,cap_near,cap_reached,daily_limit,statement_ready,provider_paused,error_rate,provider_errors"`
	Subject  string            `json:"subject"`
	ClientID *string           `json:"client_id" doc:"whose it is; null: the operators'"`
	Detail   map[string]string `json:"detail"`
}

// Events lists events, newest first, and the cursor of the next page, 0 for none.
func (s *Service) Events(ctx context.Context, f store.EventFilter) (list []OperatorEvent, next int64, err error) {
	limit := f.Limit
	f.Limit++
	rows, err := s.db.Events(ctx, f)
	if err != nil {
		return nil, 0, err
	}
	if len(rows) > limit {
		rows = rows[:limit]
		next = rows[limit-1].ID
	}
	list = make([]OperatorEvent, len(rows))
	for i := range rows {
		e := &rows[i]
		list[i] = OperatorEvent{ID: e.ID, Time: e.At.UTC(), Date: time.Unix(e.Day*86400, 0).UTC().Format(time.DateOnly), Kind: e.Kind, Subject: e.Subject, Detail: e.Detail}
		if e.ClientID != 0 {
			id := ClientID(e.ClientID)
			list[i].ClientID = &id
		}
	}
	return list, next, nil
}
