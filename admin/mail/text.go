// Package mail says what mails say and sends them: each as plain text and as HTML, by an
// SMTP server of the settings.
package mail

import (
	"bytes"
	"fmt"
	htmltemplate "html/template"
	"strings"
	"text/template"
)

// Letter is a mail as it is read.
type Letter struct {
	Subject, Text, HTML string
}

// letter is the words of one kind of mail. Its texts are templates over the details of an
// event, with brand and month beside; path is a page of the console.
type letter struct {
	subject string
	lines   []string
	path    string // "" with link: the data names the address itself
	button  string
}

// letters are the mails by kind: those of events, and those of links.
var letters = map[string]letter{
	"low_balance": {
		"Your balance is below {{.threshold}} USD",
		[]string{"{{.available}} USD are available on your account, less than the {{.threshold}} USD that you want to be told of.", "When nothing is left, requests are answered with 402 until you top up."},
		"/console/billing", "Open billing",
	},
	"cap_near": {
		"The key {{.key_name}} has spent most of its cap",
		[]string{"The API key {{.key_name}} ({{.key_id}}) has spent {{.spent}} of {{.cap}} USD."},
		"/console/keys", "Open API keys",
	},
	"cap_reached": {
		"The key {{.key_name}} has reached its cap",
		[]string{"The API key {{.key_name}} ({{.key_id}}) has spent its {{.cap}} USD. Its requests are answered with 403 until the cap is raised{{if eq .limit \"monthly_cap\"}} or the next month begins (UTC){{end}}.", "Other keys are not affected."},
		"/console/keys", "Open API keys",
	},
	"daily_limit": {
		"A daily limit is reached",
		[]string{"{{if .key_id}}The API key {{.key_name}} ({{.key_id}}){{else}}The group {{.group}}{{end}} has spent {{.spent}} USD today, its limit is {{.limit}} USD. Further requests are answered with 429 until midnight (UTC)."},
		"/console", "Open the console",
	},
	"provider_paused": {
		"The provider {{.provider}} is paused",
		[]string{"The provider {{.provider}} was paused by {{.actor}}. Models that only it serves are answered with 429 until it is resumed."},
		"/console", "Open the console",
	},
	"error_rate": {
		"{{.percent}} % of the calls of {{.model}} fail",
		[]string{"Of {{.calls}} calls of {{.model}} in this hour and the last, {{.failed}} have failed."},
		"/console", "Open the console",
	},
	"provider_errors": {
		"{{.percent}} % of the attempts at {{.provider}} fail",
		[]string{"Of {{.attempts}} attempts at the provider {{.provider}} in this hour and the last, {{.failed}} have failed."},
		"/console", "Open the console",
	},
	"statement_ready": {
		"Your statement of {{.month}} is ready",
		[]string{"In {{.month}} your calls were charged {{.charge}} USD. The statement has every charge, as a page and as CSV."},
		"/console/billing", "Open billing",
	},
	"invitation": {
		"You are invited to {{.brand}}",
		[]string{"{{.actor}} invites you to {{if .client}}the account of {{.client}} on {{end}}{{.brand}}.", "The link works once, for seven days."},
		"", "Accept the invitation",
	},
	"reset": {
		"Your password on {{.brand}}",
		[]string{"Somebody, probably you, asked to set another password for this address.", "The link works once, for an hour. Without it nothing changes."},
		"", "Set another password",
	},
}

var page = htmltemplate.Must(htmltemplate.New("mail").Parse(`<!doctype html>
<html lang="en"><body style="margin:0;background:#f4f5f7;font-family:-apple-system,Segoe UI,Roboto,Helvetica,Arial,sans-serif;color:#1c1f24">
<table role="presentation" width="100%"><tr><td align="center" style="padding:24px">
<table role="presentation" width="560" style="background:#fff;border-radius:8px;text-align:left"><tr><td style="padding:28px">
<p style="margin:0 0 16px;color:#667085">{{.Brand}}</p>
<h1 style="margin:0 0 16px;font-size:20px">{{.Subject}}</h1>
{{range .Lines}}<p style="margin:0 0 12px;line-height:1.5">{{.}}</p>
{{end}}<p style="margin:24px 0"><a href="{{.Link}}" style="background:#1f6feb;color:#fff;padding:10px 18px;border-radius:6px;text-decoration:none">{{.Button}}</a></p>
<p style="margin:0;color:#667085;font-size:13px">{{.Link}}{{if .Contact}}<br>Questions: {{.Contact}}{{end}}</p>
</td></tr></table></td></tr></table></body></html>
`))

// Writer writes letters of one installation.
type Writer struct {
	Brand     string
	Contact   string // "" = none
	PublicURL string // links begin with it, whatever host a request named (H8)
}

// Write says what a kind of mail says. data is its details; the link of one that has no
// page is data["link"], a path.
func (w *Writer) Write(kind string, data map[string]string) (*Letter, error) {
	l, ok := letters[kind]
	if !ok {
		return nil, fmt.Errorf("cannot write a mail of the kind %q", kind)
	}
	all := map[string]string{"brand": w.Brand}
	for name, value := range data {
		all[name] = oneLine(value)
	}
	subject, err := fill(l.subject, all)
	if err != nil {
		return nil, err
	}
	lines := make([]string, len(l.lines))
	for i, text := range l.lines {
		if lines[i], err = fill(text, all); err != nil {
			return nil, err
		}
	}
	path := l.path
	if path == "" {
		path = data["link"]
	}
	link := strings.TrimSuffix(w.PublicURL, "/") + path
	text := strings.Join(lines, "\n\n") + "\n\n" + l.button + ":\n" + link + "\n\n-- \n" + w.Brand + "\n"
	if w.Contact != "" {
		text += w.Contact + "\n"
	}
	var html bytes.Buffer
	if err := page.Execute(&html, struct {
		Brand, Subject, Link, Button, Contact string
		Lines                                 []string
	}{w.Brand, subject, link, l.button, w.Contact, lines}); err != nil {
		return nil, fmt.Errorf("cannot write a mail: %w", err)
	}
	return &Letter{Subject: subject, Text: text, HTML: html.String()}, nil
}

func fill(text string, data map[string]string) (string, error) {
	t, err := template.New("line").Option("missingkey=zero").Parse(text)
	if err != nil {
		return "", fmt.Errorf("cannot read the words of a mail: %w", err)
	}
	var b strings.Builder
	if err := t.Execute(&b, data); err != nil {
		return "", fmt.Errorf("cannot write a mail: %w", err)
	}
	return b.String(), nil
}

// oneLine keeps what customers call things from becoming headers or paragraphs of a mail.
func oneLine(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == '\u2028' || r == '\u2029' {
			return ' '
		}
		return r
	}, s)
}
