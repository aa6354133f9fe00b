package jobs

import (
	"context"
	"slices"
	"strconv"
	"time"

	"tokenrelay/admin/mail"
	"tokenrelay/admin/report"
	"tokenrelay/shared/seal"
	"tokenrelay/shared/store"
)

// Mailing is what is needed to tell people of events by mail.
type Mailing struct {
	Writer *mail.Writer
	Sender *mail.Sender // nil: no mail goes out, events are listed only
	Box    *seal.Box    // seals what mails say until they are sent
}

// events finds what happened and writes the mails about it.
func (r *Runner) events() func(context.Context) error {
	found := r.metrics.Counter("relay_events_total")
	return func(ctx context.Context) error {
		settings, err := report.ReadEventSettings(ctx, r.db)
		if err != nil {
			return err
		}
		n, err := r.db.FindEvents(ctx, r.now(), store.EventRules{ErrorPercent: settings.ErrorPercent, ProviderPercent: settings.ProviderPercent, Least: settings.Least})
		found.AddInt64(n)
		if err != nil {
			return err
		}
		for {
			const page = 100
			list, err := r.db.Events(ctx, store.EventFilter{Unmailed: true, Limit: page})
			if err != nil {
				return err
			}
			for i := range list {
				if err := r.tell(ctx, &list[i], &settings); err != nil {
					return err
				}
			}
			if len(list) < page {
				return nil
			}
		}
	}
}

// tell writes the mails about one event. Without a mail server none are kept: they would
// all go out, stale, on the day that there is one.
func (r *Runner) tell(ctx context.Context, e *store.Event, settings *report.EventSettings) error {
	var mails []store.Mail
	if r.mailing.Sender != nil {
		to, err := r.recipients(ctx, e, settings)
		if err != nil {
			return err
		}
		if len(to) > 0 {
			l, err := r.mailing.Writer.Write(e.Kind, e.Detail)
			if err != nil {
				return err
			}
			for _, address := range to {
				mails = append(mails, store.Mail{Ref: "event:" + strconv.FormatInt(e.ID, 10) + ":" + address, To: address, Subject: l.Subject, Text: l.Text, HTML: l.HTML})
			}
		}
	}
	return r.db.WriteMails(ctx, r.mailing.Box, e.ID, mails)
}

// recipients are the customer's, or the operators' of an event that is nobody's.
func (r *Runner) recipients(ctx context.Context, e *store.Event, settings *report.EventSettings) ([]string, error) {
	if e.ClientID == 0 {
		switch {
		case !settings.Mail:
			return nil, nil
		case len(settings.Recipients) > 0:
			return settings.Recipients, nil
		}
		return r.addresses(ctx, store.UserFilter{Role: store.RoleAdmin})
	}
	plan, err := r.db.Alerts(ctx, e.ClientID)
	if err != nil || !plan.Mail || len(plan.Emails) > 0 {
		if !plan.Mail {
			return nil, err
		}
		return plan.Emails, err
	}
	client, err := r.db.ClientByID(ctx, e.ClientID)
	if err != nil {
		return nil, err
	}
	for _, member := range []string{"billing_email", "contact_email"} {
		if address := client.Profile[member]; address != "" {
			return []string{address}, nil
		}
	}
	return r.addresses(ctx, store.UserFilter{ClientID: e.ClientID, Role: store.RoleOwner})
}

func (r *Runner) addresses(ctx context.Context, f store.UserFilter) ([]string, error) {
	people, err := r.db.Users(ctx, f)
	if err != nil {
		return nil, err
	}
	var list []string
	for i := range people {
		if people[i].Active && !slices.Contains(list, people[i].Email) {
			list = append(list, people[i].Email)
		}
	}
	return list, nil
}

// The tries of a mail: the wait doubles from a minute to six hours; after two days a mail
// says nothing that is still true.
const (
	mailTries  = 12
	mailFirst  = time.Minute
	mailLast   = 6 * time.Hour
	mailBatch  = 50
	mailMemory = 30 * 24 * time.Hour // how long it is known that a mail was sent
)

// mails sends what is due.
func (r *Runner) mails() func(context.Context) error {
	sent, failed := r.metrics.Counter(`relay_mails_total{outcome="sent"}`), r.metrics.Counter(`relay_mails_total{outcome="failed"}`)
	return func(ctx context.Context) error {
		if r.mailing.Sender == nil {
			return nil
		}
		for {
			due, err := r.db.DueMails(ctx, r.mailing.Box, mailBatch)
			if err != nil {
				return err
			}
			for i := range due {
				m := &due[i]
				permanent, err := r.mailing.Sender.Send(ctx, "mail-"+strconv.FormatInt(m.ID, 10), m.To, &mail.Letter{Subject: m.Subject, Text: m.Text, HTML: m.HTML})
				if ctx.Err() != nil {
					return nil
				}
				if err == nil {
					sent.Inc()
					if err := r.db.MailSent(ctx, m.ID); err != nil {
						return err
					}
					continue
				}
				failed.Inc()
				again := min(mailFirst<<min(m.Tries, 10), mailLast)
				if permanent || m.Tries+1 >= mailTries {
					again = 0
				}
				r.log.Warn("a mail was not sent", "mail", m.ID, "try", m.Tries+1, "given_up", again == 0, "error", err.Error())
				if err := r.db.MailFailed(ctx, m.ID, err.Error(), again); err != nil {
					return err
				}
			}
			if len(due) < mailBatch {
				break
			}
		}
		if err := r.db.SweepLinks(ctx, mailMemory); err != nil {
			return err
		}
		return r.db.SweepMails(ctx, mailMemory)
	}
}
