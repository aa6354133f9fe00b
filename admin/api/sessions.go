package api

import (
	"strconv"
	"time"

	"tokenrelay/shared/apierr"
	"tokenrelay/shared/store"
)

// signedSession is a session as its owner sees it. Its token is in nobody's answer.
type signedSession struct {
	ID        int64     `json:"id"`
	CreatedAt time.Time `json:"created_at"`
	ExpiresAt time.Time `json:"expires_at"`
	IP        string    `json:"ip"`
	Agent     string    `json:"agent"`
	Current   bool      `json:"current"` // the one that asks
}

type sessionList struct {
	Items []signedSession `json:"items"`
}

// owner is who is signed in, for what people do to their own account only.
func (a *api) owner(c *Call) (*store.User, string, error) {
	user, token, err := a.signedIn(c)
	if err != nil {
		if toAPIError(err).Code == apierr.NotFound {
			err = errSession
		}
		return nil, "", err
	}
	return user, token, a.guarded(c, token)
}

func (a *api) listSessions(c *Call) (*sessionList, error) {
	user, token, err := a.owner(c)
	if err != nil {
		return nil, err
	}
	rows, current, err := a.People.Sessions(c.Context, user.ID, token)
	if err != nil {
		return nil, err
	}
	list := &sessionList{Items: make([]signedSession, len(rows))}
	for i := range rows {
		r := &rows[i]
		list.Items[i] = signedSession{ID: r.ID, CreatedAt: r.CreatedAt.UTC(), ExpiresAt: r.ExpiresAt.UTC(), IP: r.IP, Agent: r.Agent, Current: r.ID == current}
	}
	return list, nil
}

func (a *api) endOneSession(c *Call) (*sessionList, error) {
	user, token, err := a.owner(c)
	if err != nil {
		return nil, err
	}
	id, err := strconv.ParseInt(c.Param("session_id"), 10, 64)
	if err != nil {
		return nil, apierr.ErrNotFound
	}
	_, current, err := a.People.Sessions(c.Context, user.ID, token)
	if err != nil {
		return nil, err
	}
	if id == current {
		return nil, badRequest("session_id", "this is the session that asks: sign out to end it")
	}
	if err := a.People.End(c.Context, user.ID, id); err != nil {
		return nil, err
	}
	return a.listSessions(c)
}

func (a *api) endOtherSessions(c *Call) (*sessionList, error) {
	user, token, err := a.owner(c)
	if err != nil {
		return nil, err
	}
	if err := a.People.EndOthers(c.Context, user.ID, token); err != nil {
		return nil, err
	}
	return a.listSessions(c)
}
