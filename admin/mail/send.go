package mail

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	gomail "github.com/wneessen/go-mail"
)

// Sender hands mails to an SMTP server.
type Sender struct {
	client *gomail.Client
	from   string
	host   string
}

// sendTimeout is how long a server may take for one mail.
const sendTimeout = 20 * time.Second

// NewSender reads RELAY_SMTP_URL: smtp://user:password@host:587 (STARTTLS; without it only
// on the same machine) or smtps://…:465. ?from=relay@example.com names the sender, else the
// contact does, if it is an address. name is the sender's name.
func NewSender(address, contact, name string) (*Sender, error) {
	u, err := url.Parse(address)
	if err != nil || u.Hostname() == "" {
		return nil, errors.New("RELAY_SMTP_URL must be like smtp://user:password@host:587") // without the password
	}
	options := []gomail.Option{gomail.WithTimeout(sendTimeout)}
	port := 587
	switch u.Scheme {
	case "smtp":
		policy := gomail.TLSMandatory
		if ip := net.ParseIP(u.Hostname()); u.Hostname() == "localhost" || ip != nil && ip.IsLoopback() {
			policy = gomail.TLSOpportunistic
		}
		options = append(options, gomail.WithTLSPolicy(policy))
	case "smtps":
		port = 465
		options = append(options, gomail.WithSSL())
	default:
		return nil, errors.New("RELAY_SMTP_URL must begin with smtp:// or smtps://")
	}
	if p := u.Port(); p != "" {
		if port, err = strconv.Atoi(p); err != nil {
			return nil, errors.New("RELAY_SMTP_URL has a port that is no number")
		}
	}
	options = append(options, gomail.WithPort(port))
	if u.User != nil {
		password, _ := u.User.Password()
		options = append(options, gomail.WithSMTPAuth(gomail.SMTPAuthAutoDiscover), gomail.WithUsername(u.User.Username()), gomail.WithPassword(password))
	}
	from := u.Query().Get("from")
	if from == "" && strings.Contains(contact, "@") && !strings.Contains(contact, "://") {
		from = strings.TrimPrefix(contact, "mailto:")
	}
	if from == "" {
		from = "relay@" + u.Hostname()
	}
	client, err := gomail.NewClient(u.Hostname(), options...)
	if err != nil {
		return nil, fmt.Errorf("cannot use RELAY_SMTP_URL: %w", err)
	}
	s := &Sender{client: client, from: from, host: u.Hostname()}
	if m := gomail.NewMsg(); m.FromFormat(name, from) != nil {
		return nil, fmt.Errorf("RELAY_SMTP_URL: %q is no address to send from", from)
	}
	if name != "" {
		s.from = `"` + strings.NewReplacer(`"`, "", `\`, "").Replace(name) + `" <` + from + `>`
	}
	return s, nil
}

// Send hands one mail over. id names the mail for ever: a receiver that gets it twice,
// because the server took it and could not say so, can know it again. permanent says that
// another try is useless.
func (s *Sender) Send(ctx context.Context, id, to string, l *Letter) (permanent bool, err error) {
	m := gomail.NewMsg()
	if err := m.From(s.from); err != nil {
		return true, fmt.Errorf("cannot send from this address: %w", err)
	}
	if err := m.To(to); err != nil {
		return true, errors.New("the address cannot be sent to")
	}
	m.Subject(l.Subject)
	m.SetMessageIDWithValue(id + "@" + s.host)
	m.SetDate()
	m.SetGenHeader("Auto-Submitted", "auto-generated")
	m.SetBodyString(gomail.TypeTextPlain, l.Text)
	m.AddAlternativeString(gomail.TypeTextHTML, l.HTML)
	if err := s.client.DialAndSendWithContext(ctx, m); err != nil {
		var refused *gomail.SendError
		if errors.As(err, &refused) && refused.ErrorCode() > 0 { // its text has the addresses
			return refused.ErrorCode() >= 500, fmt.Errorf("the server refuses the mail with %d", refused.ErrorCode())
		}
		return false, fmt.Errorf("cannot send a mail: %w", err)
	}
	return false, nil
}
